package config

import (
	"errors"
	"fmt"
	"slices"
)

// ErrNoInterface is the error of Validate for a configuration without interfaces.
var ErrNoInterface = errors.New("no interface")

// Validate returns the mistakes in c as a joined error, or nil if a daemon can run with
// it. It is called after flags were applied, so its errors have no position.
func (c Config) Validate() error {
	var errs []error
	if len(c.Interfaces) == 0 {
		file := c.File
		if file == "" {
			file = "the configuration file"
		}
		errs = append(errs, fmt.Errorf("%w: give interfaces: [eth0] in %s or --interface eth0", ErrNoInterface, file))
	}
	for _, k := range c.keys() {
		if err := k.check(); err != nil {
			errs = append(errs, err)
		}
	}
	if _, err := c.checkNames(); err != nil {
		errs = append(errs, err)
	}
	if err := c.checkProxies(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func checkInterfaces(list []Interface) error {
	for n, i := range list {
		if err := checkInterface(i); err != nil {
			return err
		}
		if err := checkNext(list[:n], i); err != nil {
			return err
		}
	}
	return nil
}

func checkInterface(i Interface) error {
	if _, err := ParseInterface(i.Name); err != nil {
		return named("interfaces", err)
	}
	if i.Mode == "" {
		return nil
	}
	_, err := ParseMode(string(i.Mode))
	return named("interfaces.mode", err)
}

// checkNext returns an error if i cannot follow the interfaces before it.
func checkNext(before []Interface, i Interface) error {
	same := func(b Interface) bool { return b.Name == i.Name }
	if slices.ContainsFunc(before, same) {
		return fmt.Errorf("interfaces: %q is listed twice; leave one of them out", i.Name)
	}
	if len(before) == MaxInterfaces {
		return fmt.Errorf("interfaces: more than %d; %q is one too many", MaxInterfaces, i.Name)
	}
	return nil
}
