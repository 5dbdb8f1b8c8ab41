package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/paraxial/paraxial/control"
)

func (p *program) watchCommand() command {
	return command{
		Command: &cli.Command{
			Name:   "watch",
			Usage:  "show changes and samples of dropped packets as they happen",
			Action: p.watch,
		},
	}
}

func (p *program) watch(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	err := p.client.Watch(c.Context, func(e control.Event) error {
		if err := p.event(e); err != nil {
			return err
		}
		return p.out.Flush()
	})
	switch {
	case c.Context.Err() != nil:
		return nil // an interruption is the normal end
	case err == nil:
		return errors.New("paraxiald has stopped")
	}
	return err
}

func (p *program) event(e control.Event) error {
	if p.json() {
		return p.printJSONLine(e)
	}
	_, err := fmt.Fprintf(p.out, "%s  %-9s  %s\n",
		e.Time.In(p.now().Location()).Format("15:04:05.000"), printable(e.Type), printable(p.eventText(e)))
	return err
}

func (p *program) eventText(e control.Event) string {
	switch {
	case e.Entry != nil:
		return p.entryText(*e.Entry)
	case e.Import != nil:
		i := e.Import
		return fmt.Sprintf("%s: %s", i.Origin, changes(i.Added, i.Removed, i.Unchanged, i.Renewed, i.Refused))
	case e.Flush != nil:
		f := e.Flush
		return fmt.Sprintf("%s: %s and %s removed", f.Origin, blocksText(f.Blocks), allowsText(f.Allows))
	case e.Packet != nil:
		return packetText(*e.Packet)
	case e.Alert != nil && e.Alert.Evidence != nil:
		v := e.Alert.Evidence
		return fmt.Sprintf("%s: %s points in %s by rule %s, limit %d; told by %s",
			e.Alert.Source, count(v.Count), v.Window, v.Rule, v.PointLimit, v.Reporter)
	case e.Interface != nil:
		return interfaceText(*e.Interface)
	case e.Type == control.EventLost:
		return fmt.Sprintf("%s events were not shown: too many at once", count(e.Count))
	}
	return ""
}

func (p *program) entryText(e control.Entry) string {
	parts := []string{e.Kind, e.Prefix}
	if e.Action != "" && e.Action != "drop" {
		parts = append(parts, "("+actionName(e, " ")+")")
	}
	parts = append(parts, "origin "+e.Origin, "by "+e.Author, p.ending(e))
	if e.Reason != "" {
		parts = append(parts, strconv.Quote(e.Reason))
	}
	return strings.Join(parts, " ")
}

func packetText(k control.Packet) string {
	source, to := k.Source, ""
	if k.SourcePort != 0 {
		source = net.JoinHostPort(k.Source, strconv.Itoa(int(k.SourcePort)))
	}
	if k.DestinationPort != 0 {
		to = " to port " + strconv.Itoa(int(k.DestinationPort))
	}
	return fmt.Sprintf("%s: %s from %s%s, %s bytes (%s)",
		k.Interface, k.Protocol, source, to, count(k.Length), k.Reason)
}

func interfaceText(i control.InterfaceStatus) string {
	text := i.Name + ": NOT protected"
	if i.Protected {
		text = i.Name + ": protected, " + i.Mode + " mode"
	}
	if i.Note != "" {
		text += ": " + i.Note
	}
	return text
}
