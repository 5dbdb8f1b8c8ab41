package main

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/paraxial/paraxial/control"
)

// cutting is the preview of a block that would cut connections.
var cutting = control.PreviewResult{
	Refusals: []control.Refusal{{Prefix: "203.0.113.0/24",
		Message: "203.0.113.0/24 covers 203.0.113.9, from where an SSH session to this host is open"}},
	Connections: control.PreviewConnection{Known: true, Count: 3, Peers: 2, Spared: 1,
		Services: []control.PreviewService{
			{Protocol: "tcp", Direction: "in", Port: 22, Count: 2, Processes: []string{"sshd[7]", "sshd[9]"}},
			{Protocol: "udp", Direction: "out", Port: 443, Count: 1},
		}},
	Traffic: control.PreviewTraffic{Enabled: true, Sources: []control.TopSource{
		{Source: "203.0.113.99/32", Rates: map[string]string{"syn-flood": "412/s"}, Nearest: "syn-flood",
			Verdict: "pass", Ports: []uint16{443}},
	}},
	Entries: []control.Entry{letPass},
	Notes:   []string{"203.0.113.1/24 has host bits set"},
}

var four = 4

var unseen = []control.PreviewUnknown{{What: "tunnels"}, {What: "peers", Count: &four}}

// TestPreview: a dry run prints the effects of the block. It fails if the block
// would be refused.
func TestPreview(t *testing.T) {
	for _, tt := range []struct {
		args string
		fake *fake
		want outcome
	}{
		{"block 203.0.113.0/24 --dry-run", &fake{preview: cutting}, outcome{1, lines(
			"Nothing was changed. Would be dropped: 203.0.113.0/24",
			"REFUSED by the guard:",
			"  203.0.113.0/24 covers 203.0.113.9, from where an SSH session to this host is open",
			"",
			"Established connections of this host: 3, with 2 address(es)",
			"Not affected, because an allow covers them: 1",
			"  to our port 22/tcp       2  sshd[7] sshd[9]",
			"  from us to port 443/udp  1  -",
			"",
			"Sources that the rate analysis tracks now:",
			"  203.0.113.99  412/s  syn-flood  pass  ports 443",
			"",
			"Entries that overlap (an allow still wins):",
			"  203.0.113.7/32  allow  pass  origin cli  never expires  office",
		), "note: 203.0.113.1/24 has host bits set\n"}},
		{"block 203.0.113.0/24 --dry-run --force --limit 10/s",
			&fake{preview: control.PreviewResult{WouldApply: true, Refusals: cutting.Refusals}}, outcome{0, lines(
				"Nothing was changed. Would be limited to 10/s: 203.0.113.0/24",
				"The guard objects, and --force overrides it:",
				"  203.0.113.0/24 covers 203.0.113.9, from where an SSH session to this host is open",
				"",
				"Its connections with this host are not known.",
				"",
				"Its current traffic is not known, because no detector is configured.",
			), ""}},
		{"block 192.0.2.9 --shadow --dry-run", &fake{preview: control.PreviewResult{
			WouldApply: true, Connections: control.PreviewConnection{Known: true, Unknown: unseen},
			Kept: []control.Entry{byHand}, Allowed: []control.Allowed{{Prefix: "192.0.2.9/32", By: letPass}},
			Traffic: control.PreviewTraffic{Enabled: true},
		}}, outcome{0, lines(
			"Nothing was changed. Would still PASS, because an allow wins: 192.0.2.9 (by 203.0.113.7/32 of cli)",
			"Would stay as it is: blocked 192.0.2.1/32 by origin cli, expires in 59m30s: stronger or longer",
			"To replace it all the same, add --replace. To have both, add --origin NAME.",
			"",
			"Established connections of this host: 0, as far as they can be seen",
			"Not known: tunnels",
			"Not known: peers (4)",
			"",
			"It sends nothing now that is near the limit of a detector.",
		), ""}},
	} {
		t.Run(tt.args, func(t *testing.T) {
			got := invoke(t.Context(), serve(t, tt.fake), "", split(tt.args)...)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if _, ok := tt.fake.asked[0].(control.Block); !ok || len(tt.fake.asked) != 1 {
				t.Errorf("asked %v", tt.fake.asked)
			}
		})
	}
}

// TestPreviewJSON: the output is the answer of the daemon, even for a refused block.
func TestPreviewJSON(t *testing.T) {
	got := invoke(t.Context(), serve(t, &fake{preview: cutting}), "",
		split("block 203.0.113.0/24 --dry-run -o json")...)
	var answer control.PreviewResult
	if err := json.Unmarshal([]byte(got.Stdout), &answer); err != nil {
		t.Fatalf("%v in %s", err, got.Stdout)
	}
	if got.Code != exitFailed || got.Stderr != "" || answer.Connections.Count != 3 || answer.WouldApply {
		t.Errorf("got %+v", got)
	}
}
