package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/paraxial/paraxial/control"
)

const (
	lapiAddress = "127.0.0.1:8080"
	agentKey    = "0123456789abcdef0"
	checkerKey  = "0123456789abcdef1"
)

// lapi is a real CrowdSec that serves only its local API.
type lapi struct {
	*host
	dir   string
	run   *exec.Cmd
	token string
	ids   int // decisions that were made
}

// startLAPI makes a CrowdSec with the keys of two bouncers, and starts it.
func (h *host) startLAPI() *lapi {
	h.Helper()
	if _, err := exec.LookPath("crowdsec"); err != nil {
		h.Skip("CrowdSec is not installed (on Debian: apt-get install crowdsec)")
	}
	l := &lapi{host: h, dir: h.TempDir()}
	for name, text := range map[string]string{
		"config.yaml": fmt.Sprintf(`
common: {daemonize: false, log_media: stdout, log_level: error, working_dir: %[1]s}
config_paths: {config_dir: %[1]s, data_dir: %[1]s, simulation_path: %[1]s/simulation.yaml, hub_dir: %[1]s, `+
			`index_path: %[1]s/.index.json}
db_config: {type: sqlite, db_path: %[1]s/db, use_wal: true}
api:
  client: {credentials_path: %[1]s/credentials.yaml}
  server: {listen_uri: "%[2]s", profiles_path: %[1]s/profiles.yaml, log_level: error}
prometheus: {enabled: false}
`, l.dir, lapiAddress),
		"simulation.yaml": "simulation: false\n", ".index.json": "{}", "credentials.yaml": "",
		"profiles.yaml": "name: none\nfilters: [\"false\"]\non_success: break\n",
	} {
		if err := os.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o600); err != nil {
			h.Fatal(err)
		}
	}
	l.cscli("machines", "add", "tester", "--password", "secret", "--force", "-f", l.dir+"/credentials.yaml")
	l.cscli("bouncers", "add", "agent", "-k", agentKey)
	l.cscli("bouncers", "add", "checker", "-k", checkerKey)
	l.start()
	return l
}

func (l *lapi) cscli(args ...string) {
	l.Helper()
	args = append([]string{"-c", filepath.Join(l.dir, "config.yaml")}, args...)
	if out, err := exec.CommandContext(l.Context(), "cscli", args...).CombinedOutput(); err != nil {
		l.Fatalf("cscli %v: %v\n%s", args, err, out)
	}
}

func (l *lapi) start() {
	l.Helper()
	l.run = exec.CommandContext(l.Context(), "crowdsec", "-c", filepath.Join(l.dir, "config.yaml"), "-no-cs")
	l.run.Stderr = os.Stderr
	if err := l.run.Start(); err != nil {
		l.Fatal(err)
	}
	run := l.run
	l.Cleanup(func() {
		run.Process.Kill()
		run.Wait()
	})
	login := []byte(`{"machine_id":"tester","password":"secret"}`)
	l.waitFor("CrowdSec", func() bool {
		var answer struct{ Token string }
		err := l.ask(http.MethodPost, "/v1/watchers/login", login, &answer)
		l.token = answer.Token
		return err == nil
	})
}

func (l *lapi) restart() {
	l.run.Process.Kill()
	l.run.Wait()
	l.start()
}

// ask sends a request, and reads the answer into out.
func (l *lapi) ask(method, path string, body []byte, out any) error {
	req, err := http.NewRequestWithContext(l.Context(), method, "http://"+lapiAddress+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+l.token)
	req.Header.Set("X-Api-Key", checkerKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s %s (%v)", method, path, resp.Status, text, err)
	}
	return json.Unmarshal(text, out)
}

// lapiDecision is a decision as the API takes and gives it.
type lapiDecision struct {
	Origin   string `json:"origin"`
	Type     string `json:"type"`
	Scope    string `json:"scope"`
	Value    string `json:"value"`
	Duration string `json:"duration"`
	Scenario string `json:"scenario"`
}

// decide makes decisions.
func (l *lapi) decide(decisions ...lapiDecision) {
	l.Helper()
	now := time.Now().UTC().Format(time.RFC3339)
	alert := map[string]any{
		"scenario": "test", "scenario_hash": "", "scenario_version": "", "message": "m", "events_count": 1,
		"start_at": now, "stop_at": now, "capacity": 0, "leakspeed": "0s", "simulated": false, "events": []int{},
		"source": map[string]string{"scope": "Ip", "value": "192.0.2.1"}, "decisions": decisions,
	}
	body, err := json.Marshal([]any{alert})
	if err != nil {
		l.Fatal(err)
	}
	var ids []string
	l.waitFor("the decisions", func() bool { // at times its database is locked
		return l.ask(http.MethodPost, "/v1/alerts", body, &ids) == nil
	})
	l.ids += len(decisions)
}

// active returns when the bans of each prefix end, asked with a key of its own.
func (l *lapi) active() map[string]time.Time {
	l.Helper()
	var stream struct{ New []lapiDecision }
	l.waitFor("all decisions", func() bool {
		return l.ask(http.MethodGet, "/v1/decisions/stream?startup=true&dedup=false", nil, &stream) == nil
	})
	ends := map[string]time.Time{}
	for _, d := range stream.New {
		left, err := time.ParseDuration(d.Duration)
		if err != nil {
			l.Fatal(err)
		}
		if d.Scope == "Ip" {
			d.Value += "/32"
		}
		if end := time.Now().Add(left); d.Type == "ban" && end.After(ends[d.Value]) {
			ends[d.Value] = end
		}
	}
	return ends
}

// compare reads everything again, and compares the book with the active bans. An entry that is
// about to end may be in only one of them.
func (l *lapi) compare() {
	l.Helper()
	began := time.Now()
	l.waitFor("a read of all decisions", func() bool {
		return exec.CommandContext(l.Context(), l.daemon.Ctl, "--socket", l.daemon.Socket, "feeds", "refresh",
			"crowdsec").Run() == nil
	})
	want := l.active()
	near := 4*time.Second + time.Since(began) // CrowdSec may answer slowly, and tells what is left
	soon := time.Now().Add(near)
	book := map[string]time.Time{}
	err := l.client().Entries(l.Context(), "block", "feed:crowdsec", func(e control.Entry) error {
		book[e.Prefix] = *e.Expires
		return nil
	})
	if err != nil {
		l.Fatal(err)
	}
	for p, end := range want {
		if got, ok := book[p]; (!ok || got.Sub(end).Abs() > near) && end.After(soon) {
			l.Errorf("%s ends at %s, and in the book at %s (%t)", p, end, got, ok)
		}
	}
	for p, end := range book {
		if _, ok := want[p]; !ok && end.After(soon) {
			l.Errorf("%s is in the book until %s, and no ban of CrowdSec", p, end)
		}
	}
	if len(want) == 0 || len(book) == 0 {
		l.Errorf("%d active bans and %d entries: nothing was compared", len(want), len(book))
	}
}

// randomDecision returns a ban or, at times, a captcha. The addresses are few, so that many have
// several decisions.
func randomDecision(random *rand.Rand) lapiDecision {
	d := lapiDecision{
		Origin: "cscli", Type: "ban", Scope: "Ip", Scenario: "test/random",
		Value:    fmt.Sprintf("203.0.%d.%d", 112+random.IntN(2), random.IntN(256)),
		Duration: (time.Second * time.Duration(1+random.IntN(3600))).String(),
	}
	switch random.IntN(10) {
	case 0:
		d.Type = "captcha"
	case 1:
		d.Scope, d.Value = "Range", fmt.Sprintf("198.51.%d.%d/28", random.IntN(4), 16*random.IntN(16))
	case 2:
		d.Duration = (time.Second * time.Duration(1+random.IntN(5))).String()
	}
	return d
}

// change adds or deletes decisions at random.
func (l *lapi) change(random *rand.Rand) {
	l.Helper()
	var deleted struct{ NbDeleted string }
	var path string
	switch random.IntN(5) {
	case 0, 1, 2:
		var decisions []lapiDecision
		for range 1 + random.IntN(3) {
			decisions = append(decisions, randomDecision(random))
		}
		l.decide(decisions...)
		return
	case 3:
		path = fmt.Sprintf("/v1/decisions/%d", 1+random.IntN(l.ids+1))
	default:
		path = "/v1/decisions?ip=" + randomDecision(random).Value
	}
	l.ask(http.MethodDelete, path, nil, &deleted) // there may be none
}

// TestCrowdSec: after random adds, deletes and restarts the book equals the active bans of a real
// CrowdSec within one read of all. PARAXIAL_CROWDSEC_CHANGES is the number of changes.
func TestCrowdSec(t *testing.T) {
	h := newHost(t)
	l := h.startLAPI()
	dir := h.agentFiles()
	config := fmt.Sprintf(`
interfaces: [up0]
metrics: off
feeds:
- name: crowdsec
  crowdsec: {url: "http://%s", key_file: %s/key, every: 1s, resync: 5s}
  use: block
  max_shrink: 100%%
reports: {reporters: [{name: feeds, user: "%d", sets: ["*"]}]}
`, lapiAddress, dir, reporterUID)
	h.configured(config)
	h.replace(filepath.Join(dir, "agent.yaml"), config)
	h.replace(filepath.Join(dir, "key"), agentKey+"\n")
	h.start()
	server := h.serve()
	l.decide(lapiDecision{"cscli", "ban", "Ip", "203.0.113.9", "1h", "test/first"})
	agent := h.startAgent(dir)
	h.waitFor("the first ban", func() bool { return len(h.entriesOf("feed:crowdsec")) == 1 })
	if !h.dropped(server, "203.0.113.9") {
		t.Error("a banned source passes")
	}
	seed := bypassNumber(t, "PARAXIAL_SEED", rand.Uint64())
	t.Logf("PARAXIAL_SEED=%d repeats the changes, but not their timing", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	changes := int(bypassNumber(t, "PARAXIAL_CROWDSEC_CHANGES", 120))
	for n := range changes {
		l.change(random)
		switch {
		case n%(changes/3) != changes/6:
		case n < changes/3:
			l.restart()
		case n < 2*changes/3:
			agent.Process.Kill()
			agent.Wait()
			agent = h.startAgent(dir)
		default:
			h.kill()
			h.start()
		}
		if n%max(changes/6, 1) == changes/6-1 {
			l.compare()
		}
	}
	l.compare()
	if s := h.feed("crowdsec"); s.Condition != control.FeedFresh || s.Generation == 0 {
		t.Errorf("state %+v", s)
	}
}
