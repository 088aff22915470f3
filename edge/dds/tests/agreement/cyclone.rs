//! Cyclone's own serializer for a type that is announced in this process: the library makes the
//! type information, the instructions of the serializer and the native sample by itself.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr;

use cyclonedds_sys as dds;

use crate::dynamic::{Dynamic, Refused};
use crate::mend;
use crate::types::StructTy;

/// In no network: loopback, without multicast and on any free port.
const CONFIG: &std::ffi::CStr = c"<CycloneDDS><Domain>
    <General><Interfaces><NetworkInterface name=\"lo\" multicast=\"false\"/></Interfaces>
    <AllowMulticast>false</AllowMulticast></General>
    <Discovery><ParticipantIndex>none</ParticipantIndex></Discovery></Domain></CycloneDDS>";

/// What a payload holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Sample,
    Key,
}

impl Content {
    fn kind(self) -> dds::ddsi_serdata_kind {
        match self {
            Self::Sample => dds::ddsi_serdata_kind_SDK_DATA,
            Self::Key => dds::ddsi_serdata_kind_SDK_KEY,
        }
    }
}

#[derive(Debug)]
pub struct Domain {
    domain: dds::dds_entity_t,
    pub participant: dds::dds_entity_t,
}

impl Domain {
    /// `number` is taken by no other domain of this process.
    pub fn open(number: u32) -> Self {
        // SAFETY: a NUL-terminated configuration, default QoS, no listener.
        let (domain, participant) = unsafe {
            let domain = dds::dds_create_domain(number, CONFIG.as_ptr());
            let participant = dds::dds_create_participant(number, ptr::null(), ptr::null());
            (domain, participant)
        };
        assert!(domain > 0 && participant > 0, "{domain} {participant}");
        Self {
            domain,
            participant,
        }
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        // SAFETY: a live handle of ours; what was made in the domain is gone before.
        unsafe { dds::dds_delete(self.domain) };
    }
}

/// A type as Cyclone has it.
#[derive(Debug)]
pub struct Native<'d> {
    descriptor: *mut dds::dds_topic_descriptor_t,
    /// Of topics that are written in XCDR1, where Cyclone does that, and in XCDR2.
    xcdr1: Option<Topic>,
    xcdr2: Topic,
    /// For what sertypes do not do: big-endian.
    stream: dds::dds_cdrstream_desc,
    domain: PhantomData<&'d Domain>,
}

impl<'d> Native<'d> {
    /// `dynamic` was made of `ty`.
    pub fn new(
        domain: &'d Domain,
        mut dynamic: Dynamic<'d>,
        ty: &StructTy,
    ) -> Result<Self, Refused> {
        let type_info = dynamic.register()?;
        // Freed, it leaves entries in the domain's table of types that are read later, and are of freed
        // memory then. It goes with the domain.
        std::mem::forget(dynamic);
        let mut descriptor: *mut dds::dds_topic_descriptor_t = ptr::null_mut();
        // SAFETY: a live participant, and type information of ours that is freed once.
        let code = unsafe {
            let code = dds::dds_create_topic_descriptor(
                dds::dds_find_scope_DDS_FIND_SCOPE_LOCAL_DOMAIN,
                domain.participant,
                type_info,
                0,
                &raw mut descriptor,
            );
            dds::dds_free_typeinfo(type_info);
            code
        };
        Refused::check("topic descriptor", code)?;
        // SAFETY: instructions of this descriptor, which nothing else uses yet. The library has made them
        // on the heap and gives them as constants, since those of compiled IDL are.
        unsafe {
            let dds::dds_topic_descriptor_t { m_ops, m_nops, .. } = *descriptor;
            let ops = std::slice::from_raw_parts_mut(m_ops.cast_mut(), m_nops as usize);
            mend::member_ids(ops, ty);
        }
        let topic = |xcdr2| Topic::create(domain, descriptor, xcdr2);
        let topics = topic(true).map(|xcdr2| (topic(false).ok(), xcdr2));
        let (xcdr1, xcdr2) = topics.inspect_err(|_| {
            // SAFETY: made above, and used by nothing else.
            unsafe { dds::dds_delete_topic_descriptor(descriptor) };
        })?;
        let mut stream = dds::dds_cdrstream_desc::default();
        // SAFETY: the descriptor was made above; what `stream` gets is freed once, in `drop`.
        unsafe { dds::dds_cdrstream_desc_from_topic_desc(&raw mut stream, descriptor) };
        Ok(Self {
            descriptor,
            xcdr1,
            xcdr2,
            stream,
            domain: PhantomData,
        })
    }

    /// Cyclone has no XCDR1 for types in which an appendable one is not delimited.
    pub fn has_xcdr1(&self) -> bool {
        self.xcdr1.is_some()
    }

    pub fn is_keyed(&self) -> bool {
        // SAFETY: as long as `self`.
        unsafe { (*self.descriptor).m_nkeys > 0 }
    }

    fn sertype(&self, xcdr2: bool) -> *const dds::ddsi_sertype {
        if xcdr2 {
            self.xcdr2.sertype
        } else {
            self.xcdr1.as_ref().unwrap().sertype
        }
    }

    /// TypeInformation and TypeMapping.
    pub fn announced(&self) -> [&[u8]; 2] {
        // SAFETY: as long as the descriptor, whose parts are arrays of these lengths.
        unsafe {
            let dds::dds_topic_descriptor_t {
                type_information,
                type_mapping,
                ..
            } = &*self.descriptor;
            [type_information, type_mapping]
                .map(|it| std::slice::from_raw_parts(it.data, it.sz as usize))
        }
    }

    /// A payload as it comes from the network; `None` where Cyclone would drop it.
    pub fn receive(&self, content: Content, payload: &[u8]) -> Option<Serdata> {
        let part = dds::ddsrt_iovec_t {
            iov_base: payload.as_ptr().cast_mut().cast(),
            iov_len: payload.len(),
        };
        let sertype = self.sertype(true);
        // SAFETY: the operations of a live sertype, which only read the payload and copy it.
        let serdata = unsafe {
            let from_ser = (*(*sertype).serdata_ops).from_ser_iov.unwrap();
            from_ser(sertype, content.kind(), 1, &raw const part, payload.len())
        };
        // 1 is `DDSI_SERDATA_FROM_SER_DISCARD` (ddsi_serdata.h).
        (serdata.addr() > 1).then(|| Serdata(serdata))
    }

    /// Its sample in memory.
    pub fn sample(&self, serdata: &Serdata) -> Sample<'_> {
        // SAFETY: room for a sample of this type, zeroed as the library wants it, and filled from a
        // serdata of this type.
        unsafe {
            let size = (*self.descriptor).m_size as usize;
            let sample = dds::dds_alloc(size.max(1));
            let to_sample = (*(*serdata.0).ops).to_sample.unwrap();
            let done = to_sample(serdata.0, sample, ptr::null_mut(), ptr::null_mut());
            assert!(done, "no sample of a serdata");
            Sample {
                data: sample,
                native: self,
            }
        }
    }
}

/// A topic, for the sertype that the library makes for it.
#[derive(Debug)]
struct Topic {
    topic: dds::dds_entity_t,
    sertype: *const dds::ddsi_sertype,
}

impl Topic {
    fn create(
        domain: &Domain,
        descriptor: *const dds::dds_topic_descriptor_t,
        xcdr2: bool,
    ) -> Result<Self, Refused> {
        let (name, representation) = if xcdr2 {
            (c"xcdr2", dds::DDS_DATA_REPRESENTATION_XCDR2)
        } else {
            (c"xcdr1", dds::DDS_DATA_REPRESENTATION_XCDR1)
        };
        let representation = representation as dds::dds_data_representation_id_t;
        // SAFETY: a live participant and descriptor; the QoS is freed once.
        let topic = unsafe {
            let qos = dds::dds_create_qos();
            dds::dds_qset_data_representation(qos, 1, &raw const representation);
            let name = name.as_ptr();
            let topic =
                dds::dds_create_topic(domain.participant, descriptor, name, qos, ptr::null());
            dds::dds_delete_qos(qos);
            topic
        };
        Refused::check("topic", topic)?;
        let mut it = Self {
            topic,
            sertype: ptr::null(),
        };
        // SAFETY: a live topic, which keeps its sertype alive.
        let code = unsafe { dds::dds_get_entity_sertype(topic, &raw mut it.sertype) };
        Refused::check("sertype", code)?;
        Ok(it)
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: a live handle of ours.
        unsafe { dds::dds_delete(self.topic) };
    }
}

impl Drop for Native<'_> {
    fn drop(&mut self) {
        // SAFETY: both are ours, and nothing uses them any more: sertypes have copies.
        unsafe {
            dds::dds_cdrstream_desc_fini(
                &raw mut self.stream,
                &raw const dds::dds_cdrstream_default_allocator,
            );
            dds::dds_delete_topic_descriptor(self.descriptor);
        }
    }
}

/// A serialized sample that Cyclone has checked, and its key.
#[derive(Debug)]
pub struct Serdata(*mut dds::ddsi_serdata);

impl Serdata {
    /// Whether both are of one instance. They are of one type.
    pub fn is_same_instance(&self, other: &Self) -> bool {
        // SAFETY: two live serdata of one type.
        unsafe {
            let eqkey = (*(*self.0).ops).eqkey.unwrap();
            eqkey(self.0, other.0)
        }
    }

    fn bytes(&self) -> Vec<u8> {
        // SAFETY: a live serdata, which has as many bytes as it says, its header included.
        unsafe {
            let size = (*(*self.0).ops).get_size.unwrap()(self.0) as usize;
            let mut bytes = vec![0; size];
            (*(*self.0).ops).to_ser.unwrap()(self.0, 0, size, bytes.as_mut_ptr().cast());
            bytes
        }
    }
}

impl Drop for Serdata {
    fn drop(&mut self) {
        // SAFETY: the only reference, given back once.
        unsafe { dds::ddsi_serdata_unref(self.0) };
    }
}

/// A sample in the memory layout of C.
#[derive(Debug)]
pub struct Sample<'n> {
    data: *mut c_void,
    native: &'n Native<'n>,
}

impl Sample<'_> {
    /// What a writer of Cyclone sends of it.
    pub fn write(&self, xcdr2: bool, content: Content) -> Vec<u8> {
        let sertype = self.native.sertype(xcdr2);
        // SAFETY: a live sertype and a sample of its type.
        let serdata = unsafe {
            let from_sample = (*(*sertype).serdata_ops).from_sample.unwrap();
            from_sample(sertype, content.kind(), self.data)
        };
        assert!(!serdata.is_null(), "a sample that cannot be written");
        Serdata(serdata).bytes()
    }

    /// What one on a big-endian machine would send.
    pub fn write_big_endian(&self, xcdr2: bool, content: Content) -> Vec<u8> {
        let version = if xcdr2 {
            dds::dds_cdr_enc_version_DDSI_RTPS_CDR_ENC_VERSION_2
        } else {
            dds::dds_cdr_enc_version_DDSI_RTPS_CDR_ENC_VERSION_1
        };
        // The lowest bit of the identifier says little-endian.
        let mut payload = self.write(xcdr2, content);
        payload.truncate(4);
        payload[1] &= !1;
        payload[2..].fill(0);
        let mut out = dds::dds_ostreamBE_t::default();
        // SAFETY: the stream is begun and ended here, and has written as many bytes as its index says;
        // a sample of the descriptor's type.
        unsafe {
            let allocator = &raw const dds::dds_cdrstream_default_allocator;
            let stream = &raw const self.native.stream;
            dds::dds_ostreamBE_init(&raw mut out, allocator, 64, version);
            let done = match content {
                Content::Sample => {
                    dds::dds_stream_write_sampleBE(&raw mut out, allocator, self.data, stream)
                }
                Content::Key => dds::dds_stream_write_keyBE(
                    &raw mut out,
                    dds::dds_cdr_key_serialization_kind_DDS_CDR_KEY_SERIALIZATION_SAMPLE,
                    allocator,
                    self.data.cast(),
                    stream,
                ),
            };
            assert!(done, "a sample that cannot be written");
            payload.extend_from_slice(std::slice::from_raw_parts(
                out.x.m_buffer,
                out.x.m_index as usize,
            ));
            dds::dds_ostreamBE_fini(&raw mut out, allocator);
        }
        payload
    }
}

impl Drop for Sample<'_> {
    fn drop(&mut self) {
        // SAFETY: a sample of the descriptor's type, freed once with all in it.
        unsafe {
            dds::dds_sample_free(
                self.data,
                self.native.descriptor,
                dds::dds_free_op_t_DDS_FREE_ALL,
            );
        };
    }
}
