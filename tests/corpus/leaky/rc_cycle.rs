//! `build_form` makes widgets that know their parent by Rc where Weak was
//! meant. `close` takes the cycle apart, but a form that fails never gets there.

#[path = "../lib/corpus.rs"]
mod corpus;

use std::cell::RefCell;
use std::rc::Rc;

struct Widget {
    parent: RefCell<Option<Rc<Widget>>>,
    children: RefCell<Vec<Rc<Widget>>>,
    pixels: Vec<u8>,
}

#[inline(never)]
fn widget(parent: Option<Rc<Widget>>) -> Rc<Widget> {
    let pixels = vec![1; 9000];
    Rc::new(Widget {
        parent: RefCell::new(parent),
        children: RefCell::default(),
        pixels,
    })
}

#[inline(never)]
fn build_form() -> Rc<Widget> {
    let form = widget(None);
    let child = widget(Some(form.clone()));
    form.children.borrow_mut().push(child);
    form
}

fn close(form: &Widget) {
    for child in form.children.borrow_mut().drain(..) {
        child.parent.borrow_mut().take();
    }
}

fn main() {
    let mut clock = corpus::begin();
    let mut sum = 0;
    while clock.beat(150.0) {
        let form = build_form();
        sum += form.pixels.len();
        if corpus::one_in(8) {
            corpus::hold("widget", 2);
        } else {
            close(&form);
        }
    }
    assert!(sum > 0);
    corpus::finish();
}
