package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// write writes the tables as Markdown, which is readable in a terminal.
func (r *report) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d CPUs, Linux %s, %s; the last run took %.0f s%s.\n\n", r.Machine.CPU, r.Machine.CPUs,
		r.Machine.Kernel, r.Machine.Date, r.Seconds, map[bool]string{true: " (quick)"}[r.Quick])
	r.memoryTable(&b)
	r.packetTable(&b)
	r.accountTable(&b)
	r.vethTable(&b)
	r.changesTable(&b)
	r.loadTable(&b)
	r.mapTable(&b)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the tables: %w", err)
	}
	return nil
}

func (r *report) memoryTable(b *strings.Builder) {
	b.WriteString("### Latency of a dependent random read from memory, nanoseconds\n\n| in MiB |")
	var rule, reads strings.Builder
	for _, row := range r.Memory {
		fmt.Fprintf(b, " %.3g |", mib(int64(row.Bytes)))
		rule.WriteString("--:|")
		fmt.Fprintf(&reads, " %.0f |", row.Read)
	}
	fmt.Fprintf(b, "\n|---|%s\n| ns |%s\n\n", rule.String(), reads.String())
}

func (r *report) packetTable(b *strings.Builder) {
	b.WriteString("### Nanoseconds per packet, by program run\n\n")
	b.WriteString("| list | entries | traffic | empty pass | empty drop | floor | LPM only | Paraxial | × floor | " +
		"LPM ÷ Paraxial |\n")
	b.WriteString("|---|--:|---|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, row := range r.Packets {
		name := string(row.Mix)
		if row.TTL {
			name += ", expiring"
		}
		fmt.Fprintf(b, "| %s | %d | %s | %.0f | %.0f | %.0f | %.0f | %.0f | %.1f | %.1f |\n", name, row.Entries,
			row.Traffic, row.Pass, row.Drop, row.Floor, row.LPM, row.Index, row.Index/row.Floor, row.LPM/row.Index)
	}
}

func (r *report) changesTable(b *strings.Builder) {
	if len(r.Changes) == 0 {
		return
	}
	fmt.Fprintf(b, "\n### Single blocks a second, by connections, and milliseconds until acknowledged\n\n"+
		"| state directory on | 1 | p50 | p99 | %d | p50 | p99 | ratio |\n|---|--:|--:|--:|--:|--:|--:|--:|\n",
		manyConnections)
	for _, row := range r.Changes {
		fmt.Fprintf(b, "| %s | %.0f | %.1f | %.1f | %.0f | %.1f | %.1f | %.1f |\n", row.Disk, row.One,
			row.OneLatency.P50,
			row.OneLatency.P99, row.Many, row.ManyLatency.P50, row.ManyLatency.P99, row.Many/row.One)
	}
}

func (r *report) accountTable(b *strings.Builder) {
	b.WriteString("\n### Cost of accounting for detectors, nanoseconds per packet that passes\n\n")
	b.WriteString("| list | sources | tracked | levels | off | on | adds | LRU hash | adds " +
		"|\n|---|--:|---|--:|--:|--:|--:|--:|--:|\n")
	for _, row := range r.Account {
		sources, tracked := fmt.Sprint(row.Sources), fmt.Sprintf("%d others", row.Tracked)
		if row.Sources == 0 {
			sources = "spoofed"
		}
		if row.Theirs {
			tracked = "all of them"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %d | %.0f | %.0f | %.0f | %.0f | %.0f |\n", row.Mix, sources, tracked,
			row.Levels, row.Off, row.On, row.On-row.Off, row.Naive, row.Naive-row.Off)
	}
}

func (r *report) vethTable(b *strings.Builder) {
	var ours float64
	for _, row := range r.Veth {
		if row.Contender == contenderNative {
			ours = row.Mpps
		}
	}
	fmt.Fprintf(b, "\n### Million packets per second and core through a veth, %d blocked sources\n\n", vethEntries)
	b.WriteString("| contender | Mpps | Paraxial ÷ this | delivered |\n|---|--:|--:|--:|\n")
	for _, row := range r.Veth {
		if row.Missing != "" {
			fmt.Fprintf(b, "| %s | %s | | |\n", row.Contender, row.Missing)
			continue
		}
		fmt.Fprintf(b, "| %s | %.2f | %.1f | %d |\n", row.Contender, row.Mpps, ours/row.Mpps, row.Delivered)
	}
}

func (r *report) loadTable(b *strings.Builder) {
	b.WriteString("\n### Loading a list, and memory\n\n")
	b.WriteString("| contender | entries | seconds | process, MiB | private, MiB | kernel, MiB " +
		"|\n|---|--:|--:|--:|--:|--:|\n")
	for _, row := range r.Load {
		if row.Missing != "" {
			fmt.Fprintf(b, "| %s | %s | | | | |\n", row.Contender, row.Missing)
			continue
		}
		fmt.Fprintf(b, "| %s | %d | %.2f | %.1f | %.1f | %.1f |\n", row.Contender, row.Entries, row.Seconds,
			mib(row.Process.Resident), mib(row.Process.Own), mib(row.Kernel))
	}
	if r.Block != nil {
		fmt.Fprintf(b, "\n### A single block among them, %d rounds, milliseconds from the request\n\n", r.Block.Rounds)
		b.WriteString("| until | p50 | p99 | worst |\n|---|--:|--:|--:|\n")
		for _, row := range []struct {
			name string
			q    quantile
		}{{"acknowledged", r.Block.Acknowledged}, {"last packet through", r.Block.LastPacket}} {
			fmt.Fprintf(b, "| %s | %.2f | %.2f | %.2f |\n", row.name, row.q.P50, row.q.P99, row.q.Max)
		}
	}
}

func (r *report) mapTable(b *strings.Builder) {
	b.WriteString("\n### Memory per map, KiB, as reported by the kernel\n\n| map | entries | KiB |\n|---|--:|--:|\n")
	for _, row := range r.Maps {
		fmt.Fprintf(b, "| %s | %d | %d |\n", row.Map, row.Entries, row.Bytes>>10)
	}
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// The generated part of performance.md is between these marks.
const (
	beginMark = "<!-- bench: begin -->\n"
	endMark   = "<!-- bench: end -->\n"
)

// newPage is the initial page if there is none yet.
const newPage = "# Performance\n\n![Nanoseconds per packet](performance.svg)\n\n" + beginMark + endMark

// preparePage creates the page performance.md in dir if it does not exist, and fails if the tables
// cannot be put into it. It is called before the measurements, which take minutes.
func preparePage(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the folder of the page: %w", err)
	}
	path := pageOf(dir)
	page, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("open the page, which has to be writable: %w", err)
	}
	defer page.Close()
	text, err := io.ReadAll(page)
	if err != nil {
		return fmt.Errorf("read the page: %w", err)
	}
	if len(text) == 0 {
		if _, err := page.WriteString(newPage); err != nil {
			return fmt.Errorf("write a new page: %w", err)
		}
		return nil
	}
	if _, err := splice(string(text), ""); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func pageOf(dir string) string { return filepath.Join(dir, "performance.md") }

// document puts the tables into the page in dir, and the plot beside it.
func (r *report) document(dir string) error {
	path := pageOf(dir)
	page, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the page: %w", err)
	}
	var tables strings.Builder
	if err := r.write(&tables); err != nil {
		return err
	}
	fresh, err := splice(string(page), tables.String())
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := os.WriteFile(path, []byte(fresh), 0o644); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "performance.svg"), r.plot(), 0o644); err != nil {
		return fmt.Errorf("write the plot: %w", err)
	}
	return nil
}

// splice replaces the text between the marks.
func splice(page, text string) (string, error) {
	head, rest, ok := strings.Cut(page, beginMark)
	_, tail, ok2 := strings.Cut(rest, endMark)
	if !ok || !ok2 {
		return "", fmt.Errorf("has no lines %q and %q, between which the tables go", beginMark, endMark)
	}
	return head + beginMark + "\n" + text + "\n" + endMark + tail, nil
}
