package doctor

import (
	"cmp"
	"fmt"
	"slices"
)

// Severity is the severity of a finding.
type Severity int

// The severities.
const (
	OK      Severity = iota
	Note             // for information
	Warning          // it works, but not as well as it could, or not for long
	Problem          // it does not filter, or will not
)

var severityNames = []string{"ok", "note", "warning", "problem"}

func (s Severity) String() string { return severityNames[s] }

// MarshalText implements encoding.TextMarshaler.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Severity) UnmarshalText(text []byte) error {
	i := slices.Index(severityNames, string(text))
	if i < 0 {
		return fmt.Errorf("severity %q: want one of %v", text, severityNames)
	}
	*s = Severity(i)
	return nil
}

// Finding is one finding of the doctor. Codes are a contract.
type Finding struct {
	Code      string   `json:"code"`
	Severity  Severity `json:"severity"`
	Interface string   `json:"interface"` // empty: the host
	What      string   `json:"what"`
	Why       string   `json:"why"` // empty if ok
	Fix       []string `json:"fix"` // commands and sentences, in order
}

// Expectation is the mode in which the daemon would filter an interface with mode
// auto.
type Expectation struct {
	Interface string `json:"interface"`
	Driver    string `json:"driver"`
	Mode      string `json:"mode"` // native, generic, or refused
}

// Report holds all findings: those of each interface, then those of the host. The
// worst of each come first.
type Report struct {
	Worst      Severity      `json:"worst"`
	Interfaces []Expectation `json:"interfaces"`
	Findings   []Finding     `json:"findings"`
}

// Examine judges facts.
func Examine(f Facts) Report {
	r := Report{Interfaces: []Expectation{}, Findings: []Finding{}}
	for _, i := range f.Interfaces {
		x := examination{facts: f, nic: i}
		mode := x.interfaceRules()
		r.Interfaces = append(r.Interfaces, Expectation{i.Name, i.Driver, mode})
		r.add(x.findings)
	}
	x := examination{facts: f}
	x.hostRules()
	r.add(x.findings)
	return r
}

func (r *Report) add(findings []Finding) {
	slices.SortStableFunc(findings, func(a, b Finding) int { return cmp.Compare(b.Severity, a.Severity) })
	for _, f := range findings {
		r.Worst = max(r.Worst, f.Severity)
	}
	r.Findings = append(r.Findings, findings...)
}

// examination gathers the findings about the host or one interface.
type examination struct {
	facts    Facts
	nic      Interface
	findings []Finding
}

func (x *examination) say(code string, s Severity, what, why string, fix ...string) {
	if fix == nil {
		fix = []string{}
	}
	x.findings = append(x.findings, Finding{
		Code: code, Severity: s, Interface: x.nic.Name, What: what, Why: why, Fix: fix,
	})
}

// ok adds a finding that needs neither a reason nor a fix.
func (x *examination) ok(code, format string, args ...any) {
	x.say(code, OK, fmt.Sprintf(format, args...), "")
}
