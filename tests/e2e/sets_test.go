package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/paraxial/paraxial/control"
	"github.com/paraxial/paraxial/report"
)

// newSetsHost returns a host with an agent, whose feeds are files in a folder: cloud blocks all
// addresses but those of bot and office, and cdn is of proxies.
func newSetsHost(t *testing.T) (h *host, dir string) {
	t.Helper()
	h = newHost(t)
	dir = h.agentFiles()
	config := fmt.Sprintf(`
interfaces: [up0]
metrics: off
sets:
  office: [203.0.113.77]
feeds:
- {name: cloud, url: %[1]s/cloud, use: block, every: 1h, ttl: 2h, except: [bot, office]}
- {name: bot, url: %[1]s/bot, use: tag, every: 1h, ttl: 2h}
- {name: cdn, url: %[1]s/cdn, use: proxies, every: 1h, ttl: 2h}
reports: {reporters: [{name: feeds, user: "%[2]d", sets: ["*"]}]}
`, dir, reporterUID)
	h.configured(config)
	h.replace(filepath.Join(dir, "agent.yaml"), config)
	h.replace(filepath.Join(dir, "cloud"), "203.0.113.0/24\n")
	h.replace(filepath.Join(dir, "bot"), "203.0.113.8/29\n")
	h.replace(filepath.Join(dir, "cdn"), "192.0.2.0/24\n")
	h.start()
	return h, dir
}

// whyTags returns the tags of an address, as why shows them.
func (h *host) whyTags(address string) string {
	h.Helper()
	return strings.Join(ctlJSON[control.WhyResult](h, "why", address).Tags, " ")
}

// The cloud is blocked, but not the crawlers and the office in it.
func TestCloudButNotCrawlers(t *testing.T) {
	h, dir := newSetsHost(t)
	server := h.serve()
	h.startAgent(dir)
	h.waitFor("the sets", func() bool {
		return h.feed("bot").Condition == control.FeedFresh && h.feed("cloud").InForce > 0 && h.feed("cdn").InForce == 1
	})
	dropped := map[string]bool{
		"203.0.113.7": true, "203.0.113.8": false, "203.0.113.15": false, "203.0.113.16": true,
		"203.0.113.77": false, "203.0.113.78": true,
	}
	for source, want := range dropped {
		expectEqual(t, source+" is dropped", h.dropped(server, source), want)
	}
	expectEqual(t, "tags", []string{h.whyTags("203.0.113.8"), h.whyTags("203.0.113.77"), h.whyTags("203.0.113.7"),
		h.whyTags("192.0.2.1")}, []string{"bot", "office", "", "cdn"})
	if out := h.ctl(0, "why", "203.0.113.8").Stdout; !strings.Contains(out, "It is in these sets: bot.") {
		t.Errorf("why says %s", out)
	}
	h.ctl(0, "block", "192.0.2.7", "--reason", "by hand")
	if out := h.ctl(0, "list", "--origin", "cli").Stdout; !strings.Contains(out, "by hand [cdn]") {
		t.Errorf("list says %s", out)
	}
	var origins []string
	for _, o := range ctlJSON[control.OriginsResult](h, "origins").Origins {
		origins = append(origins, fmt.Sprint(o.Origin, " ", o.Kind, " ", o.LastExpiry != nil))
	}
	expectEqual(t, "origins", origins, []string{"cli block false", "feed:cloud block true", "feed:bot tag true",
		"feed:cdn proxies true", "set:office tag false"})

	h.replace(filepath.Join(dir, "bot"), "203.0.113.16/29\n")
	h.ctl(0, "feeds", "refresh", "bot")
	h.waitFor("other exceptions", func() bool { return h.dropped(server, "203.0.113.8") })
	expectEqual(t, "a crawler that is new on the list is dropped", h.dropped(server, "203.0.113.16"), false)
	expectEqual(t, "tags", []string{h.whyTags("203.0.113.8"), h.whyTags("203.0.113.16")}, []string{"", "bot"})
}

// A daemon that was killed has the sets at once when it starts again, without the agent.
func TestTagsOutliveTheDaemon(t *testing.T) {
	h, dir := newSetsHost(t)
	agent := h.startAgent(dir)
	h.waitFor("the sets", func() bool { return h.feed("bot").InForce == 1 && h.feed("cdn").InForce == 1 })
	agent.Process.Kill()
	agent.Wait()
	h.kill()
	h.start()
	expectEqual(t, "tags", []string{h.whyTags("203.0.113.8"), h.whyTags("192.0.2.1"), h.whyTags("203.0.113.77")},
		[]string{"bot", "cdn", "office"})
	for _, o := range ctlJSON[control.OriginsResult](h, "origins").Origins {
		if o.Origin == "feed:cdn" {
			expectEqual(t, "cdn", fmt.Sprint(o.Kind, o.Entries, o.Generation), "proxies1 1")
		}
	}
}

// A reporter can hand in sets that are not in the kernel only within their bounds, and a set
// that becomes one of tags has no entries any more.
func TestTagsAreBounded(t *testing.T) {
	h := newHost(t)
	const config = `
interfaces: [up0]
metrics: off
feeds: [{name: a, url: /a, use: %s, every: 1s, ttl: 3s, max_entries: 1000}]
reports: {reporters: [{name: agent, user: "65534", sets: [a]}]}
`
	file := h.configured(fmt.Sprintf(config, "block"))
	h.start()
	expectEqual(t, "put", h.hand(reporterUID, "203.0.113.1/32\n", "put a 1 false").Code, "")
	writeConfig(t, file, fmt.Sprintf(config, "proxies"))
	if err := h.run.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	h.waitFor("the reload", func() bool { return h.feed("a").Use == "proxies" })
	expectEqual(t, "renew with another use", h.hand(reporterUID, "", "renew a 1 false").Code, report.CodeUnknown)
	expectEqual(t, "put", h.hand(reporterUID, someHosts(200), "put a 2 false").Code, "")
	expectEqual(t, "entries of the use of before", len(h.entriesOf("feed:a")), 0)
	expectEqual(t, "tags", h.whyTags("203.0.113.1"), "a")
	expectEqual(t, "a long set", h.hand(reporterUID, someHosts(1001), "put a 3 true").Code, control.CodeTooLarge)
	for what, list := range map[string]string{
		"shrinks": "203.0.113.1/32\n", "grows": someHosts(700), "empty": "", "wide": someHosts(200) + "0.0.0.0/1\n",
	} {
		if r := h.hand(reporterUID, list, "put a 3 true"); r.Result.Held == "" || r.Code != "" {
			t.Errorf("%s: %+v", what, r)
		}
	}
	expectEqual(t, "renew", h.hand(reporterUID, "", "renew a 2 false").Code, "")
	h.waitFor("the end of the set", func() bool { return h.whyTags("203.0.113.1") == "" })
	expectEqual(t, "renew of a set that has ended", h.hand(reporterUID, "", "renew a 2 false").Code, report.CodeUnknown)
}
