// Package fail2ban reads the configuration of fail2ban, and writes what its jails mean as
// rules and logs of Paraxial. It reads the user's own files and needs no fail2ban.
package fail2ban

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Jail is an enabled jail.
type Jail struct {
	Name     string
	Filter   string // without its options
	Mode     string // of the filter
	Files    []string
	Journal  bool     // it reads the journal instead of files
	Units    []string // of the journal, if the filter names them
	MaxRetry int
	FindTime time.Duration
	BanTime  time.Duration // negative: for ever
	Escalate bool          // each ban is longer than the one before
	Longest  time.Duration // of these bans; 0: not stated
	IgnoreIP []string
	Actions  []string // apart from the usual ban
	Notes    []string // settings that have no counterpart or are not understood
}

// Problem is a jail that cannot be read.
type Problem struct {
	Jail string `json:"jail"` // empty: the whole configuration
	Text string `json:"text"`
}

// Read returns the enabled jails of a configuration folder such as /etc/fail2ban, in the
// order of its files, and what of them cannot be read. It returns an error if the files of
// the jails cannot be read.
func Read(folder fs.FS) ([]Jail, []Problem, error) {
	s := settings{folder: folder}
	names, err := jailFiles(folder)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range names {
		if err := s.load(name); err != nil {
			return nil, nil, err
		}
	}
	if len(s.read) == 0 {
		return nil, nil, fmt.Errorf("read fail2ban's configuration: the folder has no jail.conf, jail.local or jail.d")
	}
	var jails []Jail
	var problems []Problem
	for _, section := range s.order {
		if section == defaultName || section == "INCLUDES" {
			continue
		}
		enabled, _, err := s.get(section, "enabled")
		if err == nil && !truth(enabled) {
			continue
		}
		var j Jail
		if err == nil {
			j, err = s.jail(section)
		}
		if err != nil {
			problems = append(problems, Problem{section, err.Error()})
			continue
		}
		jails = append(jails, j)
	}
	return jails, problems, nil
}

// jailFiles returns the files of jails in the order in which fail2ban reads them.
func jailFiles(folder fs.FS) ([]string, error) {
	var names []string
	for _, suffix := range []string{".conf", ".local"} {
		more, err := fs.Glob(folder, "jail.d/*"+suffix)
		if err != nil {
			return nil, fmt.Errorf("list jail.d: %w", err)
		}
		slices.Sort(more)
		names = append(append(names, "jail"+suffix), more...)
	}
	return names, nil
}

// reader reads the values of a section until one of them is an error.
type reader struct {
	*settings
	section string
	err     error
}

func (r *reader) text(key string) string {
	if r.err != nil {
		return ""
	}
	v, _, err := r.get(r.section, key)
	r.err = err
	return v
}

func (r *reader) time(key string) time.Duration {
	text := r.text(key)
	if r.err != nil || text == "" {
		return 0
	}
	d, err := duration(text)
	if err != nil {
		r.err = fmt.Errorf("%s of [%s] is %q: %w", key, r.section, shorten(text), err)
	}
	return d
}

func (s *settings) jail(section string) (Jail, error) {
	r := &reader{settings: s, section: section}
	j := Jail{Name: section, IgnoreIP: words(r.text("ignoreip"))}
	j.Filter, j.Mode = filterOf(r.text("filter"))
	j.Journal = strings.HasPrefix(r.text("backend"), "systemd")
	for line := range strings.Lines(r.text("logpath")) {
		if fields := strings.Fields(line); len(fields) > 0 {
			j.Files = append(j.Files, fields[0])
		}
	}
	j.FindTime = r.time("findtime")
	if text := r.text("bantime"); strings.HasPrefix(text, "-") {
		j.BanTime = -1
	} else {
		j.BanTime = r.time("bantime")
	}
	if j.Escalate = truth(r.text("bantime.increment")); j.Escalate {
		j.Longest = r.time("bantime.maxtime")
	}
	retries := r.text("maxretry")
	j.readNotes(r)
	if r.err != nil {
		return j, r.err
	}
	var err error
	if j.MaxRetry, err = strconv.Atoi(retries); err != nil || j.MaxRetry < 1 {
		return j, fmt.Errorf("maxretry of [%s] is %q: want a number of 1 or more", section, shorten(retries))
	}
	if j.Journal {
		if j.Units, err = s.units(r, j.Filter); err != nil {
			return j, err
		}
	}
	return j, nil
}

// readNotes reads the settings that change whom a jail bans and have no counterpart.
func (j *Jail) readNotes(r *reader) {
	for key, why := range map[string]string{
		"ignorecommand": "a command cannot decide who is left alone; allow the addresses",
		"ignoreregex":   "lines are not left out by a pattern",
		"failregex":     "a pattern of the jail itself; write it as `patterns`",
		"datepattern":   "times are recognised",
	} {
		if v := r.text(key); v != "" {
			j.Notes = append(j.Notes, key+": "+why)
		}
	}
	for _, key := range []string{"bantime.formula", "bantime.multipliers", "bantime.factor"} {
		if v := r.text(key); j.Escalate && v != "" {
			j.Notes = append(j.Notes, key+": each ban is twice as long as the one before instead")
		}
	}
	slices.Sort(j.Notes)
	for line := range strings.Lines(r.text("action")) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), "[")
		if name != "" && !isBan(name) {
			j.Actions = append(j.Actions, name)
		}
	}
}

// isBan reports whether an action only bans.
func isBan(name string) bool {
	for _, prefix := range []string{"iptables", "nftables", "ufw", "firewallcmd", "route", "shorewall", "paraxial",
		"npf",
		"pf", "ipfw", "ipset", "hostsdeny"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// filterOf returns the name and the mode of a filter such as sshd[mode=aggressive].
func filterOf(text string) (name, mode string) {
	name, options, _ := strings.Cut(text, "[")
	for option := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSpace(options), "]"), ",") {
		if key, value, ok := strings.Cut(option, "="); ok && strings.TrimSpace(key) == "mode" {
			mode = strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	return strings.TrimSpace(name), mode
}

// units returns the units of the journal that a jail or its filter reads.
func (s *settings) units(r *reader, filter string) ([]string, error) {
	match := r.text("journalmatch")
	if r.err != nil {
		return nil, r.err
	}
	if match == "" {
		f := settings{folder: s.folder}
		base := path.Join("filter.d", path.Base(filter))
		for _, suffix := range []string{".conf", ".local"} {
			if err := f.load(base + suffix); err != nil {
				return nil, err
			}
		}
		var err error
		if match, _, err = f.get("Definition", "journalmatch"); err != nil {
			return nil, fmt.Errorf("filter %s: %w", filter, err)
		}
	}
	var units []string
	for _, field := range strings.Fields(match) {
		if unit, ok := strings.CutPrefix(field, "_SYSTEMD_UNIT="); ok && !slices.Contains(units, unit) {
			units = append(units, unit)
		}
	}
	return units, nil
}

// words splits a list of blanks, commas and lines.
func words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' || r == '\n' || r == '\t' })
}
