package config

import (
	"fmt"
	"slices"

	"github.com/paraxial/paraxial/events"
)

// Doubts returns settings that are valid but without effect, because a name in them is that of no
// rule. Each text tells what to do.
func (c Config) Doubts() (list []string) {
	for _, l := range c.Logs {
		for _, rule := range l.Rules() {
			if text := c.unknownRule(rule); text != "" {
				list = append(list, fmt.Sprintf("the events of the log %s do not count: %s", l.Name, text))
			}
		}
	}
	for _, r := range c.Reports.Reporters {
		for _, rule := range r.Rules {
			if text := c.unknownRule(rule); text != "" && rule != All {
				list = append(list, fmt.Sprintf("events of the reporter %s do not count: %s", r.Name, text))
			}
		}
	}
	return list
}

// unknownRule says that there is no such rule, and which one may be meant; "" if there is one.
func (c Config) unknownRule(name string) string {
	if slices.ContainsFunc(c.Rules, func(r events.Rule) bool { return r.Name == name }) {
		return ""
	}
	best, distance := "", min(2, max(1, len(name)/3))+1
	for _, r := range c.Rules {
		if d := editDistance(name, r.Name); d < distance {
			best, distance = r.Name, d
		}
	}
	if best != "" {
		return fmt.Sprintf("there is no rule %s; did you mean %s?", name, best)
	}
	return fmt.Sprintf("there is no rule %s; add it under rules", name)
}
