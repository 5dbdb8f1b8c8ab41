package control

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/paraxial/paraxial/policy"
)

func self() string { return fmt.Sprintf("uid:%d", os.Getuid()) }

func selfOrigin() string { return fmt.Sprintf("api:%d", os.Getuid()) }

// TestAnswers shows the wire form of every endpoint: no slice is null.
func TestAnswers(t *testing.T) {
	const entryJSON = `{"prefix":"192.0.2.0/24","kind":"block","action":"drop","origin":"cli","reason":"",` +
		`"author":"uid:0",` +
		`"created":"2026-11-23T12:00:00Z","expires":null,"drops":0,"drops_estimated":false,"pending":null}`
	const one = "application/json"
	const lines = "application/x-ndjson"
	tests := []struct {
		method, target, body string
		want                 answer
	}{
		{"GET", "/v1/status", "", answer{200, one, `{"version":"1.2.3","pid":7,"started":"2026-11-23T12:00:00Z",` +
			`"interfaces":[],"blocks":0,"allows":0,"warnings":[]}`}},
		{"GET", "/v1/stats", "",
			answer{200, one, `{"interfaces":[{"name":"eth0","packets":3,"bytes":180,"reasons":{}}]}`}},
		{"GET", "/v1/detectors", "", answer{200, one, `{"enabled":true,"detectors":[{"name":"syn-flood","match":"",` +
			`"limit":"","window":"","ipv4_prefix":32,"ipv6_prefix":0,` +
			`"action":"","for":"","decisions":{},"extended":0,"lifted":0,"spared":0,"entries":0,"no_room":0}],` +
			`"tracked":0,"capacity":0,"offenders":0,"entries":0,"max_entries":0,` +
			`"breaker":{"open":false,"since":"2026-11-23T12:00:00Z","trips":0},"sampling":{"interval":0,"lost":0,` +
			`"exceeded":false,"refused":0}}`}},
		{"GET", "/v1/top", "", answer{200, one, `{"time":"2026-11-23T12:00:00Z","sources":[{"source":"192.0.2.7/32",` +
			`"packets":0,"bytes":0,"rates":{},"share":0.5,` +
			`"nearest":"","verdict":"","since":"2026-11-23T12:00:00Z","ports":[],"tags":[]}]}`}},
		{"POST", "/v1/block", `{"prefixes":["192.0.2.0/24"]}`, answer{200, one,
			`{"entries":[` + entryJSON + `],"kept":[],"replaced":[],"allowed":[],"notes":[]}`}},
		{"POST", "/v1/preview", `{"prefixes":["192.0.2.0/24"]}`, answer{200, one,
			`{"would_apply":true,"refusals":[],"kept":[],"allowed":[],` +
				`"connections":{"known":true,"count":1,"peers":1,"spared":0,"unknown":[],` +
				`"services":[{"protocol":"tcp","direction":"in","port":22,"count":1,"processes":[]}]},` +
				`"traffic":{"enabled":false,"sources":[]},"entries":[],"entries_more":false,"notes":[]}`}},
		{"POST", "/v1/allow", `{"prefixes":["192.0.2.0/24"]}`, answer{200, one,
			`{"entries":[` + entryJSON + `],"kept":[],"replaced":[],"allowed":[],"notes":["host bits cleared"]}`}},
		{"POST", "/v1/unblock", `{"prefixes":["192.0.2.0/24"]}`,
			answer{200, one, `{"removed":[` + entryJSON + `],"still_blocked":[],"notes":[]}`}},
		{"POST", "/v1/unallow", `{"prefixes":["192.0.2.0/24"]}`,
			answer{200, one, `{"removed":[],"still_blocked":[],"notes":[]}`}},
		{"POST", "/v1/flush", `{"origin":"ipsum"}`,
			answer{200, one, `{"origin":"ipsum","blocks":2,"allows":1}`}},
		{"POST", "/v1/promote", `{"prefixes":["192.0.2.0/24"],"origin":"ipsum"}`, answer{200, one,
			`{"entries":[` + entryJSON + `],"kept":[],"replaced":[],"allowed":[],"notes":[]}`}},
		{"POST", "/v1/confirm", `{"id":"x"}`,
			answer{404, one, `{"error":{"code":"not_found","message":"nothing waits to be confirmed"}}`}},
		{"GET", "/v1/why?address=::ffff:192.0.2.1", "", answer{200, one,
			`{"address":"192.0.2.1","verdict":"pass","reason":"","matched":[],"tags":[],"checked_by":"kernel"}`}},
		{"GET", "/v1/entries?kind=block&origin=cli", "", answer{200, lines, entryJSON}},
		{"GET", "/v1/entries?origin=detector:syn", "", answer{200, lines,
			strings.TrimSuffix(entryJSON, "}") + `,"evidence":{"detector":"syn","rate":"412/s","limit":"200/s",` +
				`"window":"5s","count":2060,"first":"2026-11-23T12:00:00Z","last":"2026-11-23T12:00:00Z","ports":[],` +
				`"offence":2,"sources":0}}`}},
		{"GET", "/v1/watch", "", answer{200, lines, `{"time":"2026-11-23T12:00:00Z","type":"lost","count":9}`}},
		{"POST", "/v1/import?origin=ipsum&for=7d&skip_invalid=true", "192.0.2.1\n",
			answer{200, lines, `{"progress":{"read":1,"applied":0,"total":0}}` + "\n" +
				`{"result":{"added":1,"removed":0,"unchanged":0,"renewed":0,"refused":[],"invalid":[],"notes":[],` +
				`"spared":[],"held":[],"coverage":{"ipv4":0,"ipv6":0}}}`}},
		{"POST", "/v1/detach", "", answer{200, one, `{}`}},
	}
	socket := serve(t, &fake{}, Options{})
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.target, func(t *testing.T) {
			tt.want.Body += "\n"
			if diff := cmp.Diff(tt.want, request(t, socket, tt.method, tt.target, tt.body)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// prefixes lets cmp compare prefixes.
var prefixes = cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})

// TestRequests shows what the backend receives: defaults filled in, and the author that the kernel
// reported.
func TestRequests(t *testing.T) {
	f := &fake{}
	c := NewClient(serve(t, f, Options{}))
	one, six := []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}, []netip.Prefix{netip.MustParsePrefix("::1/128")}
	block := BlockRequest{
		Prefixes: []string{"192.0.2.1"}, Action: "shadow", For: "1h", Reason: "why not", Origin: "cli", Confirm: "60s",
		Force: true,
	}
	parsed := Block{
		Prefixes: one, Action: policy.Shadow, For: time.Hour, Reason: "why not", Origin: "cli", Confirm: time.Minute,
		Force: true,
	}
	load := ImportRequest{Origin: "ipsum", For: "7d", Reason: "a & b", SkipInvalid: true, Force: true}
	further := ImportRequest{Origin: "x", Rate: "10Mbit/s", Accept: true, Wide: true, DryRun: true}
	tests := []struct {
		name string
		do   func(context.Context) error
		want any
	}{
		{"preview", func(ctx context.Context) error { _, err := c.Preview(ctx, block); return err }, parsed},
		{"block", func(ctx context.Context) error { _, err := c.Block(ctx, block); return err }, parsed},
		{"block defaults", func(ctx context.Context) error {
			_, err := c.Block(ctx, BlockRequest{Prefixes: []string{"192.0.2.1"}})
			return err
		}, Block{Prefixes: one, Action: policy.Drop, For: policy.TTLForever, Origin: selfOrigin()}},
		{"limit", func(ctx context.Context) error {
			_, err := c.Block(ctx, BlockRequest{Prefixes: []string{"192.0.2.1"}, Rate: "10Mbit/s"})
			return err
		}, Block{
			Prefixes: one, Action: policy.Limit, Rate: policy.Rate{PerSecond: 1_250_000, Unit: policy.Bytes},
			For: policy.TTLForever, Origin: selfOrigin(),
		}},
		{"prefixes once, with notes", func(ctx context.Context) error {
			_, err := c.Block(ctx,
				BlockRequest{Prefixes: []string{"192.0.2.1", "192.0.2.1/32", "192.0.2.9/24", "192.0.2.1"}})
			return err
		}, Block{
			Prefixes: append(one, netip.MustParsePrefix("192.0.2.0/24")),
			Notes:    []string{"192.0.2.9/24 has host bits set: taken as 192.0.2.0/24"},
			Action:   policy.Drop, For: policy.TTLForever, Origin: selfOrigin(),
		}},
		{"replace", func(ctx context.Context) error {
			_, err := c.Block(ctx, BlockRequest{Prefixes: []string{"192.0.2.1"}, Replace: true})
			return err
		}, Block{Prefixes: one, Action: policy.Drop, For: policy.TTLForever, Origin: selfOrigin(), Replace: true}},
		{"allow a wide prefix", func(ctx context.Context) error {
			_, err := c.Allow(ctx, AllowRequest{Prefixes: []string{"192.0.2.1"}, Force: true, Replace: true})
			return err
		}, Allow{Prefixes: one, For: policy.TTLForever, Origin: selfOrigin(), Force: true, Replace: true}},
		{"flush", func(ctx context.Context) error {
			_, err := c.Flush(ctx, FlushRequest{Origin: "detector:x", Kind: "block", DryRun: true})
			return err
		}, Flush{Origin: "detector:x", Kind: policy.Block, DryRun: true}},
		{"promote", func(ctx context.Context) error {
			_, err := c.Promote(ctx, PromoteRequest{Prefixes: []string{"::1"}, Force: true})
			return err
		}, Promotion{Prefixes: six, Origin: selfOrigin(), Force: true}},
		{"promote an entry of a list", func(ctx context.Context) error {
			_, err := c.Promote(ctx, PromoteRequest{Prefixes: []string{"::1"}, Origin: "feed:x"})
			return err
		}, Promotion{Prefixes: six, Origin: "feed:x"}},
		{"allow", func(ctx context.Context) error {
			_, err := c.Allow(ctx, AllowRequest{Prefixes: []string{"::1"}, For: "forever"})
			return err
		}, Allow{Prefixes: six, For: policy.TTLForever, Origin: selfOrigin()}},
		{"unblock all", func(ctx context.Context) error {
			_, err := c.Unblock(ctx, UnblockRequest{Prefixes: []string{"::1"}, All: true})
			return err
		}, Removal{Prefixes: six}},
		{"unblock an entry of a detector", func(ctx context.Context) error {
			_, err := c.Unblock(ctx, UnblockRequest{Prefixes: []string{"::1"}, Origin: "detector:syn"})
			return err
		}, Removal{Prefixes: six, Origin: "detector:syn"}},
		{"unallow", func(ctx context.Context) error {
			_, err := c.Unallow(ctx, UnallowRequest{Prefixes: []string{"::1"}})
			return err
		}, Removal{Prefixes: six, Origin: selfOrigin()}},
		{"unallow by force", func(ctx context.Context) error {
			_, err := c.Unallow(ctx, UnallowRequest{Prefixes: []string{"::1"}, All: true, Force: true})
			return err
		}, Removal{Prefixes: six, Force: true}},
		{"import", func(ctx context.Context) error {
			_, err := c.Import(ctx, load, strings.NewReader("192.0.2.1\n"), nil)
			return err
		}, Import{Origin: "ipsum", Kind: policy.Block, Action: policy.Drop, For: 7 * 24 * time.Hour, Reason: "a & b",
			SkipInvalid: true, Force: true}},
		{"import of limits", func(ctx context.Context) error {
			_, err := c.Import(ctx, further, strings.NewReader("192.0.2.1\n"), nil)
			return err
		}, Import{Origin: "x", Kind: policy.Block, Action: policy.Limit,
			Rate: policy.Rate{PerSecond: 1_250_000, Unit: policy.Bytes}, For: policy.TTLForever, Accept: true,
			Wide:   true,
			DryRun: true}},
		{"import of allows", func(ctx context.Context) error {
			_, err := c.Import(ctx, ImportRequest{Origin: "x", Kind: "allow"}, strings.NewReader("192.0.2.1\n"), nil)
			return err
		}, Import{Origin: "x", Kind: policy.Allow, For: policy.TTLForever}},
		{"refresh a feed", func(ctx context.Context) error {
			_, err := c.FeedCommand(ctx, FeedCommand{Name: "x", Command: "refresh"})
			return err
		}, FeedCommand{Name: "x", Command: "refresh"}},
		{"differences of a feed", func(ctx context.Context) error {
			_, err := c.FeedCommand(ctx, FeedCommand{Name: "x", Command: "diff", Generation: 5})
			return err
		}, FeedCommand{Name: "x", Command: "diff", Generation: 5}},
		{"forgive", func(ctx context.Context) error {
			_, err := c.Forgive(ctx, ForgiveRequest{Address: "::ffff:192.0.2.1", Unblock: true})
			return err
		}, Forgiveness{Address: netip.MustParseAddr("192.0.2.1"), Unblock: true}},
		{"detach", c.Detach, "detach"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.do(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]any{recorded{self(), tt.want}}, f.taken(), prefixes); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestHiddenCharacters: an entry of an earlier version may have them in its reason. The
// answer escapes them.
func TestHiddenCharacters(t *testing.T) {
	const escaped = `"reason":"a\u007f\u009b2J \u202egnp\udb40\udc41 日本"`
	old := entry
	old.Reason = "a\x7f\u009b2J \u202egnp\U000E0041 日本"
	socket := serve(t, &fake{
		block: func(context.Context, Block) (ChangeResult, error) { return ChangeResult{Entries: []Entry{old}}, nil },
		list:  func(_ context.Context, yield func(Entry) error) error { return yield(old) },
	}, Options{})
	for _, r := range [][3]string{{"POST", "/v1/block", `{"prefixes":["192.0.2.0/24"]}`}, {"GET", "/v1/entries", ""}} {
		if got := request(t, socket, r[0], r[1], r[2]); !strings.Contains(got.Body, escaped) {
			t.Errorf("%s: got %q, want %s in it", r[1], got.Body, escaped)
		}
	}
}

// TestBadRequests shows that bad input is an error of the client, in JSON, that
// names what is wrong, and never reaches the backend.
func TestBadRequests(t *testing.T) {
	good := `{"prefixes":["192.0.2.1"]`
	tests := []struct {
		name, method, target, body string
		status                     int
		code, says                 string
	}{
		{"garbage", "POST", "/v1/block", "\x7fELF\x02\x01", 400, CodeInvalidRequest, "not JSON at byte 1"},
		{"NUL bytes", "POST", "/v1/block", good + "\x00}", 400, CodeInvalidRequest, "not JSON at byte 26"},
		{"truncated", "POST", "/v1/block", good, 400, CodeInvalidRequest, "cut off at byte 25"},
		{"empty", "POST", "/v1/block", "", 400, CodeInvalidRequest, "prefixes: name at least one"},
		{"null", "POST", "/v1/block", "null", 400, CodeInvalidRequest, "prefixes: name at least one"},
		{"array", "POST", "/v1/block", "[]", 400, CodeInvalidRequest, "body: want an object, got array"},
		{"two values", "POST", "/v1/block", good + "}{}", 400, CodeInvalidRequest, "more data after the JSON object"},
		{"trailing garbage", "POST", "/v1/block", good + "} x",
			400, CodeInvalidRequest, "more data after the JSON object"},
		{"unknown field", "POST", "/v1/block", good + `,"prefix":"x"}`,
			400, CodeInvalidRequest, `unknown field "prefix"`},
		{"key in another case", "POST", "/v1/block", `{"Prefixes":["192.0.2.1"]}`,
			400, CodeInvalidRequest, `unknown field "Prefixes" at byte 11; it is written "prefixes"`},
		{"key with a letter that folds", "POST", "/v1/block", good + `,"rea\u017fon":"x"}`,
			400, CodeInvalidRequest, `it is written "reason"`},
		{"key twice", "POST", "/v1/unblock", good + `,"all":true,"all":false}`,
			400, CodeInvalidRequest, `field "all" is given twice, the second time at byte 42`},
		{"key twice in two cases", "POST", "/v1/block", good + `,"force":false,"FORCE":true}`,
			400, CodeInvalidRequest, `unknown field "FORCE"`},
		{"long key", "POST", "/v1/block", good + `,"` + strings.Repeat("x", 1000) + `":1}`,
			400, CodeInvalidRequest, strings.Repeat("x", 128) + `" at byte`},
		{"wrong type", "POST", "/v1/block", good + `,"force":"yes"}`,
			400, CodeInvalidRequest, "field force: want true or false, got string"},
		{"wrong type in array", "POST", "/v1/block", `{"prefixes":[1]}`,
			400, CodeInvalidRequest, "field prefixes: want a string, got number"},
		{"huge number", "POST", "/v1/block", good + `,"for":1e999999}`,
			400, CodeInvalidRequest, "field for: want a string, got number"},
		{"deep nesting", "POST", "/v1/block", strings.Repeat(`{"prefixes":[`, 20000), 400, CodeInvalidRequest, ""},
		{"oversize", "POST", "/v1/block", good + strings.Repeat(" ", 4<<20) + "}",
			413, CodeTooLarge, "longer than 1 MiB; use import"},
		{"too many prefixes", "POST", "/v1/block", `{"prefixes":["::1"` + strings.Repeat(`,"::1"`, MaxPrefixes) + `]}`,
			413, CodeTooLarge, "10001 given, at most 10000; use import"},
		{"no address", "POST", "/v1/block", `{"prefixes":["::1","hello"]}`,
			400, CodeInvalidRequest, `prefixes[1]: "hello" is not an IPv4 or IPv6 address`},
		{"NUL in prefix", "POST", "/v1/block", `{"prefixes":["192.0.2.1\u0000"]}`,
			400, CodeInvalidRequest, `prefixes[0]: "192.0.2.1\x00" is not`},
		{"length 33", "POST", "/v1/block", `{"prefixes":["192.0.2.1/33"]}`, 400, CodeInvalidRequest, "from 0 to 32"},
		{"zone", "POST", "/v1/allow", `{"prefixes":["fe80::1%eth0"]}`, 400, CodeInvalidRequest, "has a zone"},
		{"long prefix", "POST", "/v1/unblock", `{"prefixes":["` + strings.Repeat("1", 1000) + `"]}`,
			400, CodeInvalidRequest, "prefixes[0]: 1000 bytes long"},
		{"negative duration", "POST", "/v1/block", good + `,"for":"-1h"}`,
			400, CodeInvalidRequest, "for: duration \"-1h\": must be positive"},
		{"absurd duration", "POST", "/v1/allow", good + `,"for":"99999999999999999999w"}`,
			400, CodeInvalidRequest, "use forever"},
		{"confirm forever", "POST", "/v1/block", good + `,"confirm":"forever"}`,
			400, CodeInvalidRequest, "nothing to confirm"},
		{"action", "POST", "/v1/block", good + `,"action":"explode"}`,
			400, CodeInvalidRequest, `action: want "drop", "limit" or "shadow"`},
		{"C1 control in reason", "POST", "/v1/allow", good + `,"reason":"a\u009b2Jb"}`,
			400, CodeInvalidRequest, "control or invalid character"},
		{"override in reason", "POST", "/v1/block", good + `,"reason":"a\u202eb"}`,
			400, CodeInvalidRequest, "control or invalid character"},
		{"control in reason", "POST", "/v1/block", good + `,"reason":"a\u001b[2Jb"}`,
			400, CodeInvalidRequest, "control or invalid character"},
		{"origin form", "POST", "/v1/block", good + `,"origin":"a b"}`, 400, CodeInvalidRequest, "origin"},
		{"origin of a detector", "POST", "/v1/block", good + `,"origin":"detector:syn"}`,
			400, CodeInvalidRequest, "reserved for the daemon"},
		{"origin of another caller", "POST", "/v1/allow", good + `,"origin":"api:4242"}`,
			400, CodeInvalidRequest, "reserved for the daemon"},
		{"origin and all", "POST", "/v1/unblock", good + `,"origin":"cli","all":true}`,
			400, CodeInvalidRequest, "not together with all"},
		{"long id", "POST", "/v1/confirm", `{"id":"` + strings.Repeat("x", 200) + `"}`,
			400, CodeInvalidRequest, "id: 200 bytes long"},
		{"detach with body", "POST", "/v1/detach", `{"now":true}`, 400, CodeInvalidRequest, "unknown field"},
		{"unknown path", "GET", "/v2/status", "", 404, CodeNotFound, "no such path"},
		{"path to be cleaned", "GET", "//v1/../status", "", 404, CodeNotFound, "no such path"},
		{"wrong method", "DELETE", "/v1/block", "", 405, CodeMethodNotAllowed, "takes POST"},
		{"POST to GET", "POST", "/v1/status", "", 405, CodeMethodNotAllowed, "takes GET"},
		{"OPTIONS", "OPTIONS", "/v1/status", "", 405, CodeMethodNotAllowed, "takes GET"},
		{"GET with a body", "GET", "/v1/status", "abc", 400, CodeInvalidRequest, "takes no body"},
		{"unknown parameter", "GET", "/v1/entries?kinds=block", "",
			400, CodeInvalidRequest, `unknown parameter "kinds"`},
		{"parameter twice", "GET", "/v1/entries?kind=block&kind=allow", "", 400, CodeInvalidRequest, "given 2 times"},
		{"bad query", "GET", "/v1/entries?kind=%zz", "", 400, CodeInvalidRequest, "query"},
		{"bad kind", "GET", "/v1/entries?kind=drops", "", 400, CodeInvalidRequest, `want "block" or "allow"`},
		{"why nothing", "GET", "/v1/why", "", 400, CodeInvalidRequest, "address"},
		{"why a prefix", "GET", "/v1/why?address=192.0.2.0/24", "", 400, CodeInvalidRequest, "address"},
		{"limit without a rate", "POST", "/v1/block", `{"prefixes":["::1"],"action":"limit"}`,
			400, CodeInvalidRequest, "rate: missing"},
		{"drop with a rate", "POST", "/v1/block", `{"prefixes":["::1"],"action":"drop","rate":"1/s"}`,
			400, CodeInvalidRequest, `rate: only with the action "limit"`},
		{"shadow with a rate", "POST", "/v1/block", `{"prefixes":["::1"],"action":"shadow","rate":"1/s"}`,
			400, CodeInvalidRequest, "rate: only"},
		{"bad rate", "POST", "/v1/block", `{"prefixes":["::1"],"rate":"fast"}`,
			400, CodeInvalidRequest, "want packets a second"},
		{"long rate", "POST", "/v1/block", `{"prefixes":["::1"],"rate":"` + strings.Repeat("1", 200) + `/s"}`,
			400, CodeInvalidRequest, "rate: 202 bytes long"},
		{"promote nothing", "POST", "/v1/promote", `{"origin":"x"}`, 400, CodeInvalidRequest, "prefixes"},
		{"promote for all", "POST", "/v1/promote", `{"prefixes":["::1"],"all":true}`,
			400, CodeInvalidRequest, "unknown field"},
		{"forgive a prefix", "POST", "/v1/forgive", `{"address":"192.0.2.0/24"}`, 400, CodeInvalidRequest, "address"},
		{"a rule by a bad name", "GET", "/v1/rules?name=a%20b", "", 400, CodeInvalidRequest, "name"},
		{"import without origin", "POST", "/v1/import", "192.0.2.1\n", 400, CodeInvalidRequest, "origin: name the set"},
		{"import into cli", "POST", "/v1/import?origin=cli", "192.0.2.1\n",
			400, CodeInvalidRequest, "choose another name"},
		{"import into a feed", "POST", "/v1/import?origin=feed:x", "192.0.2.1\n", 400, CodeInvalidRequest, "reserved"},
		{"import of a kind", "POST", "/v1/import?origin=x&kind=drop", "192.0.2.1\n",
			400, CodeInvalidRequest, "kind: want"},
		{"import of allows with a rate", "POST", "/v1/import?origin=x&kind=allow&rate=1/s", "192.0.2.1\n",
			400, CodeInvalidRequest, "no action and no rate"},
		{"import of limits without a rate", "POST", "/v1/import?origin=x&action=limit", "192.0.2.1\n",
			400, CodeInvalidRequest, "rate: missing"},
		{"import flag", "POST", "/v1/import?origin=x&force=maybe", strings.Repeat("192.0.2.1\n", 1<<20),
			400, CodeInvalidRequest, "force: want true or false"},
	}
	f := &fake{}
	socket := serve(t, f, Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := request(t, socket, tt.method, tt.target, tt.body)
			var body struct{ Error Error }
			if err := json.Unmarshal([]byte(got.Body), &body); err != nil {
				t.Fatalf("answer %q: %v", got.Body, err)
			}
			if got.Status != tt.status || got.Type != "application/json" || body.Error.Code != tt.code ||
				!strings.Contains(body.Error.Message, tt.says) {
				t.Errorf("got %+v\nwant %d %s … %s …", got, tt.status, tt.code, tt.says)
			}
			if len(got.Body) > 1000 {
				t.Errorf("the error is %d bytes long", len(got.Body))
			}
			if calls := f.taken(); len(calls) != 0 {
				t.Errorf("reached the backend: %v", calls)
			}
		})
	}
}

func FuzzBlockBody(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `{"prefixes":["192.0.2.1"]}`, `{"prefixes":["::/0","fe80::1%x"],"for":"1h","confirm":"60s"}`,
		`{"prefixes":["1.2.3.4/33"],"action":"shadow","force":true,"reason":"x\u0000"}`, `{"prefixes":[`, `[[[[`,
		`{"for":1e999}`, "\x00\xff",
	} {
		f.Add([]byte(seed))
	}
	caller := Caller{UID: 1000}
	f.Fuzz(func(t *testing.T, body []byte) {
		var r BlockRequest
		var b Block
		err := decode(body, &r)
		if err == nil {
			b, err = r.parse(caller)
		}
		if err != nil {
			if e := wireError(err); e.Status >= 500 {
				t.Fatalf("%q: %d %s", body, e.Status, e.Message)
			}
			return
		}
		if len(b.Prefixes) == 0 || b.Origin == "" || b.Action == policy.NoAction || b.For == 0 {
			t.Fatalf("%q: accepted as %+v", body, b)
		}
	})
}
