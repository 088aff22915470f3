//! Points themselves: each row of a batch becomes a row of the answer.

use crate::ast::Page;
use crate::function::Transform;
use crate::plan::{Node, Plan};
use crate::scalar::{Scalar, arithmetic};
use crate::transform::State;

pub(crate) struct Points<'a> {
    plan: &'a Plan,
    states: Vec<State>,
    page: Page,
    /// Rows of the page that are behind.
    passed: u64,
}

impl<'a> Points<'a> {
    pub(crate) fn new(plan: &'a Plan) -> Self {
        let mut states = vec![None; plan.transforms];
        plan.nodes
            .iter()
            .for_each(|it| find(it, &mut |state, transform| states[state] = Some(transform)));
        let states = states.into_iter().flatten();
        Self {
            plan,
            states: states
                .map(|it| State::new(it, plan.is_descending))
                .collect(),
            page: plan.page,
            passed: 0,
        }
    }

    /// Nothing further will be wanted.
    pub(crate) fn is_full(&self) -> bool {
        let Page { limit, offset } = self.page;
        limit > 0 && self.passed >= limit.saturating_add(offset)
    }

    /// The row of a point into `row`, if it is of the page.
    pub(crate) fn row<'v>(
        &mut self,
        time: i64,
        value: &dyn Fn(usize) -> Option<Scalar<'v>>,
        row: &mut Vec<Option<Scalar<'v>>>,
    ) -> bool {
        row.clear();
        for node in &self.plan.nodes {
            row.push(evaluate(node, time, value, &mut self.states));
        }
        let has_any = if self.states.is_empty() {
            (0..self.plan.selected).any(|number| value(number).is_some())
        } else {
            row.iter().any(Option::is_some)
        };
        if !has_any {
            return false;
        }
        self.passed += 1;
        self.passed > self.page.offset
    }
}

fn find(node: &Node, found: &mut dyn FnMut(usize, Transform)) {
    match node {
        Node::Transform {
            transform,
            input,
            state,
        } => {
            found(*state, *transform);
            find(input, found);
        }
        Node::Binary(_, left, right) => {
            find(left, found);
            find(right, found);
        }
        Node::Constant(_) | Node::Field(_) | Node::Call(_) | Node::Beside(_) => {}
    }
}

fn evaluate<'v>(
    node: &Node,
    time: i64,
    value: &dyn Fn(usize) -> Option<Scalar<'v>>,
    states: &mut [State],
) -> Option<Scalar<'v>> {
    match node {
        Node::Constant(constant) => Some(*constant),
        Node::Field(number) => value(*number),
        Node::Transform { input, state, .. } => {
            let input = evaluate(input, time, value, states)?;
            states[*state].next(time, input)
        }
        Node::Binary(operator, left, right) => {
            let left = evaluate(left, time, value, states);
            arithmetic(*operator, left, evaluate(right, time, value, states))
        }
        // Of groups.
        Node::Call(_) | Node::Beside(_) => None,
    }
}
