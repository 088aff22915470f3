# Shared memory (iceoryx) is not what the edge reads by; where its headers are installed, Cyclone DDS would look for it, and
# not build with those of Debian.
set(ENABLE_ICEORYX OFF CACHE STRING "" FORCE)
