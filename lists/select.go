package lists

import (
	"fmt"
	"slices"
	"strings"
)

// Condition selects records: the field called Key has one of Values.
type Condition struct {
	Key    string
	Values []string
}

// ParseSelect reads conditions such as "service=EC2,region=eu-west-1". All of them must
// match. Of conditions with the same key, one must match.
func ParseSelect(s string) ([]Condition, error) {
	var all []Condition
	for part := range strings.SplitSeq(s, ",") {
		key, v, ok := strings.Cut(part, "=")
		key, v = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(v)
		if !ok || key == "" || v == "" {
			return nil, fmt.Errorf("%s is no condition: write KEY=VALUE,KEY=VALUE", quote(part))
		}
		i := slices.IndexFunc(all, func(c Condition) bool { return c.Key == key })
		if i < 0 {
			i, all = len(all), append(all, Condition{Key: key})
		}
		all[i].Values = append(all[i].Values, v)
	}
	return all, nil
}

// field is a field of a record.
type field struct{ key, value string }

// selection decides which records are wanted.
type selection struct {
	conditions []Condition
	keys       []string // seen, at most maxNames
	records    int
}

// wants reports whether the record with these fields is wanted.
func (s *selection) wants(fields []field) bool {
	if len(s.conditions) == 0 {
		return true
	}
	s.records++
	for _, f := range fields {
		if key := strings.ToLower(f.key); len(s.keys) < maxNames && !slices.Contains(s.keys, key) {
			s.keys = append(s.keys, strings.Clone(key))
		}
	}
	for _, c := range s.conditions {
		if !slices.ContainsFunc(fields, c.matches) {
			return false
		}
	}
	return true
}

func (c Condition) matches(f field) bool {
	return strings.EqualFold(c.Key, f.key) &&
		slices.ContainsFunc(c.Values, func(v string) bool { return strings.EqualFold(v, f.value) })
}

// check returns an error if no record has a key of the conditions.
func (s *selection) check() error {
	for _, c := range s.conditions {
		if s.records > 0 && len(s.keys) < maxNames && !slices.Contains(s.keys, c.Key) {
			return fmt.Errorf("--select %s: the list has no such field; it has %s", c.Key, strings.Join(s.keys, ", "))
		}
	}
	return nil
}
