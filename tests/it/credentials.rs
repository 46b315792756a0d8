//! Check 18, what it costs (that answers are the source's own stands among the captures): credentials are judged by the source with the request that carries them, and by nobody else.

use crate::double::{Seen, start};
use crate::proxy::PATIENCE;

/// Requests that a client sends.
const REQUESTS: usize = 40;

#[test]
fn check_18_a_credential_costs_no_request_of_its_own() {
    let (twinline, seen) = start();
    let mut client = twinline.connect();
    let styles =
        ["Authorization: Basic bWU6aHVudGVyMg==", "Authorization: Token hunter2", "Authorization: Bearer hunter2"];
    for at in 0..REQUESTS {
        let style = [styles[at % 3]];
        let (line, body) = match at % 4 {
            0 => ("POST /write?db=d&rp=r", format!("m v=1 {at}")),
            1 => ("POST /api/v2/write?bucket=d%2Fr&org=o", format!("m v=1 {at}")),
            2 => ("GET /query?q=SHOW+DATABASES", String::new()),
            _ => ("GET /query?q=SHOW+DATABASES&u=me&p=hunter2", String::new()),
        };
        assert_eq!(client.call(line, &style, body.as_bytes()).unwrap().status, 204, "{line}");
    }
    // What came with a client's credentials came because the client had sent it: one for one, in order.
    let mut came = 0;
    while came < REQUESTS {
        let Ok(Seen::Request(head, _)) = seen.recv_timeout(PATIENCE) else { panic!("only {came} came") };
        came += usize::from(head.iter().any(|line| line == styles[came % 3]));
    }
    let more: Vec<Seen> = seen.try_iter().collect();
    let carries = |seen: &&Seen| format!("{seen:?}").contains("hunter2") || format!("{seen:?}").contains("bWU6");
    assert_eq!(more.iter().filter(carries).count(), 0, "{more:?}");
}
