package packaging

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/paraxial/paraxial/metrics"
)

const (
	rulesFile     = repository + "/packaging/prometheus/paraxial.rules.yml"
	dashboardFile = repository + "/packaging/grafana/paraxial.json"
)

// TestMonitoringNamesMetricsThatExist checks the names and labels against the exporter's
// descriptions.
func TestMonitoringNamesMetricsThatExist(t *testing.T) {
	labels := exported(t)
	seen := 0
	for _, expr := range append(ruleExprs(t), dashboardExprs(t)...) {
		for _, m := range regexp.MustCompile(`\b(paraxial_\w+)(?:\{([^}]*)\})?`).FindAllStringSubmatch(expr, -1) {
			seen++
			name := strings.TrimSuffix(m[1], "_bucket")
			known, ok := labels[name]
			if !ok {
				t.Errorf("%s: there is no metric %s", expr, name)
			}
			for _, l := range regexp.MustCompile(`(\w+)\s*[=!]`).FindAllStringSubmatch(m[2], -1) {
				if !known[l[1]] {
					t.Errorf("%s: %s has no label %s", expr, name, l[1])
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d metrics were found in the expressions", seen)
	}
}

// exported returns the labels of each metric. Prometheus adds instance and job.
func exported(t *testing.T) map[string]map[string]bool {
	t.Helper()
	descs := make(chan *prometheus.Desc, 100)
	metrics.New(nil, metrics.Build{}).Describe(descs)
	close(descs)
	form := regexp.MustCompile(`fqName: "(\w+)".*variableLabels: \{([^}]*)\}`)
	all := map[string]map[string]bool{}
	for d := range descs {
		m := form.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("cannot parse: %s", d)
		}
		all[m[1]] = map[string]bool{"instance": true, "job": true}
		for l := range strings.SplitSeq(m[2], ",") {
			all[m[1]][l] = true
		}
	}
	return all
}

func ruleExprs(t *testing.T) (exprs []string) {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(read(t, rulesFile), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			exprs = append(exprs, r.Expr)
		}
	}
	return exprs
}

func dashboardExprs(t *testing.T) (exprs []string) {
	t.Helper()
	var file struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(read(t, dashboardFile), &file); err != nil {
		t.Fatal(err)
	}
	for _, p := range file.Panels {
		for _, target := range p.Targets {
			exprs = append(exprs, target.Expr)
		}
	}
	return exprs
}

// TestPrometheusTakesThem checks the rules, and the dashboard's expressions in the form of rules.
func TestPrometheusTakesThem(t *testing.T) {
	need(t, "promtool")
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var rules []rule
	for _, expr := range dashboardExprs(t) {
		rules = append(rules, rule{"dashboard:expr", strings.NewReplacer("$__rate_interval", "1m", "$instance", ".*",
			"$interface", ".*").Replace(expr)})
	}
	content, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	dashboard := filepath.Join(t.TempDir(), "dashboard.yml") // JSON is YAML
	if err := os.WriteFile(dashboard, content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{rulesFile, dashboard} {
		if out, err := exec.CommandContext(t.Context(), "promtool", "check", "rules", "--lint=none",
			file).CombinedOutput(); err != nil {
			t.Errorf("promtool: %v\n%s", err, out)
		}
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
