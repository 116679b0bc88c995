use super::*;
use crate::resp::Args;

fn push(queue: &mut Queue, words: &[&[u8]]) -> bool {
    let bytes = words.concat();
    let mut start = 0;
    let spans: Vec<Span> = words
        .iter()
        .map(|word| {
            let span = Span::new(start, word.len());
            start += word.len();
            span
        })
        .collect();
    let args = Args::new(&bytes, &spans);
    queue.push(find(words[0]).expect("a command"), args)
}

#[test]
fn a_queue_gives_back_what_was_put_into_it() {
    let mut queue = Queue::default();
    assert!(push(&mut queue, &[b"SET", b"a", b"1"]));
    assert!(push(&mut queue, &[b"PING"]));
    let commands: Vec<(&str, Vec<&[u8]>)> = queue
        .commands()
        .map(|(row, spans)| (row.name, Args::new(queue.bytes(), spans).iter().collect()))
        .collect();
    let expected: [(&str, Vec<&[u8]>); 2] =
        [("set", vec![b"SET", b"a", b"1"]), ("ping", vec![b"PING"])];
    assert_eq!(commands, expected);
    assert_eq!(queue.len(), 2);
}

#[test]
fn a_queue_that_will_not_run_grows_no_more() {
    let mut queue = Queue {
        is_refused: true,
        ..Queue::default()
    };
    assert!(push(&mut queue, &[b"SET", b"a", b"1"]));
    assert!(queue.is_empty());
    assert_eq!(queue.len_bytes(), 0);
}

#[test]
fn a_queue_past_its_bound_takes_no_more() {
    let mut queue = Queue {
        bytes: vec![0; TRANSACTION_LEN_BYTES_MAX - 64],
        ..Queue::default()
    };
    let more = (0..).take_while(|_| push(&mut queue, &[b"PING"]));
    // Where an argument lies and which command it is count, too.
    assert!(more.count() < 60 / b"PING".len());
    assert!(!push(&mut queue, &[b"PING"]));
}
