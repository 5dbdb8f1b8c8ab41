package lists

import (
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/paraxial/paraxial/policy"
)

// table reads comma-, tab-, semicolon- or bar-separated columns, with or without a line
// of names.
type table struct {
	out     *sink
	sep     byte   // 0: words separated by blanks
	column  string // as the user named it
	known   bool   // the columns are known
	width   int    // columns of the first record
	names   []string
	comment string   // the last comment, which may hold the names
	kept    [][]cell // records before the column is known
	at      int      // column of the address or of the start of the range
	last    int      // column of the end of the range; -1 if none
	numeric bool     // addresses are decimal numbers, as IP2Location has them
}

// cell is a field of a record, and the number of its line.
type cell struct {
	text string
	line int
}

const (
	mostKept    = 200  // records read before the column of the addresses is chosen
	mostColumns = 1000 // columns of a record
)

func openTable(sep byte) func(*sink, Options) parser {
	return func(o *sink, opts Options) parser {
		return &table{out: o, sep: sep, column: opts.Column, last: -1}
	}
}

func (t *table) line(n int, line string) error {
	text := strings.TrimSpace(line)
	if text == "" {
		return nil
	}
	if isComment(text) {
		if t.width == 0 {
			t.comment = strings.TrimSpace(strings.TrimLeft(text, "#;/- "))
		}
		return nil
	}
	fields, err := splitFields(strings.Trim(line, " \r"), t.sep)
	if err != nil {
		t.out.bad(n, err)
		return nil
	}
	if t.width == 0 {
		t.begin(n, fields)
		if t.names != nil && slices.Equal(t.names, fields) {
			return nil
		}
	}
	if len(fields) != t.width && len(fields) != len(t.names) {
		t.out.badf(n, "the record has %d columns, the first one has %d", len(fields), t.width)
		return nil
	}
	if !t.known {
		return t.keep(n, fields)
	}
	return t.record(n, fields)
}

// begin finds the names of the columns: in the first record, if it has no address, or in
// the comment before it.
func (t *table) begin(_ int, fields []string) {
	t.width = len(fields)
	if !slices.ContainsFunc(fields, isValue) && !(len(fields) > 2 && digits(fields[0]) && digits(fields[1])) {
		t.names = fields
		return
	}
	names, err := splitFields(t.comment, t.sep)
	if err == nil && len(names) == len(fields) && len(names) > 1 {
		t.names = names
	}
}

// keep stores a record until the column of the addresses is known.
func (t *table) keep(n int, fields []string) error {
	cells := make([]cell, len(fields))
	for i, f := range fields {
		cells[i] = cell{f, n}
	}
	if t.kept = append(t.kept, cells); len(t.kept) < mostKept {
		return nil
	}
	return t.decide()
}

// decide chooses the column and reads the records that were kept.
func (t *table) decide() error {
	if err := t.choose(); err != nil {
		return err
	}
	t.known = true
	for _, cells := range t.kept {
		fields := make([]string, len(cells))
		for i, c := range cells {
			fields[i] = c.text
		}
		if err := t.record(cells[0].line, fields); err != nil {
			return err
		}
	}
	t.kept = nil
	return nil
}

func (t *table) end() error {
	if !t.known && len(t.kept) > 0 {
		return t.decide()
	}
	return nil
}

func (t *table) choose() error {
	if t.column != "" {
		return t.chooseNamed()
	}
	var found []int
	for i := range t.width {
		if t.mostly(i, isValue) {
			found = append(found, i)
		}
	}
	switch {
	case len(found) == 0 && t.width > 2 && t.mostly(2, isCountry) && t.inOrder(0, 1, numericAddr):
		t.at, t.last, t.numeric = 0, 1, true
		return nil
	case len(found) == 1:
		t.at = found[0]
		return nil
	case len(found) == 2 && t.isRange(found[0], found[1]):
		t.at, t.last = found[0], found[1]
		return nil
	}
	for _, name := range []string{"ip", "ip_address", "ipaddress", "ipaddr", "address", "prefix", "network", "cidr",
		"value", "src_ip", "source_ip", "dst_ip", "ip_prefix"} {
		if i := t.named(name); slices.Contains(found, i) {
			t.at = i
			return nil
		}
	}
	if len(found) == 0 {
		return fmt.Errorf("no column has addresses%s", t.columns())
	}
	return fmt.Errorf("%d columns have addresses: choose one with --column, or two as --column FIRST-LAST%s",
		len(found), t.columns())
}

// isRange reports whether two columns are the ends of ranges: by their names, or
// because the ranges are in order.
func (t *table) isRange(first, last int) bool {
	if t.names == nil {
		return first == 0 && last == 1 && t.width > 2 && t.inOrder(first, last, policy.ParseAddr)
	}
	has := func(column int, words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool {
			return strings.Contains(strings.ToLower(t.names[column]), w)
		})
	}
	return has(first, "start", "first", "begin", "from") && has(last, "end", "last", "to")
}

// inOrder reports whether there are two ranges or more, and each begins after the one
// before it ends. The same is not likely of other pairs of addresses.
func (t *table) inOrder(first, last int, parse func(string) (netip.Addr, error)) bool {
	var end netip.Addr
	for _, cells := range t.kept {
		from, err1 := parse(cells[first].text)
		to, err2 := parse(cells[last].text)
		if err1 != nil || err2 != nil || to.Less(from) || end.IsValid() && !end.Less(from) {
			return false
		}
		end = to
	}
	return len(t.kept) > 1
}

func isCountry(s string) bool { return len(s) == 2 || s == "-" }

func (t *table) chooseNamed() error {
	if t.at = t.position(t.column); t.at >= 0 {
		return nil
	}
	if first, last, ok := strings.Cut(t.column, "-"); ok {
		if t.at, t.last = t.position(first), t.position(last); t.at >= 0 && t.last >= 0 {
			return nil
		}
	}
	return fmt.Errorf("--column %s: there is no such column%s", t.column, t.columns())
}

// position returns the index of a column by its name or number; -1 if there is none.
func (t *table) position(s string) int {
	if n, err := strconv.Atoi(s); err == nil && n >= 1 && n <= t.width {
		return n - 1
	}
	return t.named(s)
}

// columns describes the columns for an error message.
func (t *table) columns() string {
	if t.names == nil {
		return fmt.Sprintf("; the %d columns have no names, so give a number", t.width)
	}
	return "; the columns are " + strings.Join(t.names[:min(len(t.names), maxNames)], ", ")
}

func (t *table) named(name string) int {
	return slices.IndexFunc(t.names, func(s string) bool { return strings.EqualFold(s, name) })
}

// mostly reports whether a column of most of the kept records is as f says.
func (t *table) mostly(column int, f func(string) bool) bool {
	n := 0
	for _, cells := range t.kept {
		if column < len(cells) && f(cells[column].text) {
			n++
		}
	}
	return 2*n > len(t.kept)
}

// record adds the address of a record.
func (t *table) record(n int, fields []string) error {
	if t.at >= len(fields) || t.last >= len(fields) {
		t.out.badf(n, "the record has %d columns, the first one has %d", len(fields), t.width)
		return nil
	}
	if !t.out.where.wants(t.fields(fields)) {
		t.out.list.Left++
		return nil
	}
	switch {
	case t.numeric:
		return t.numbers(n, fields[t.at], fields[t.last])
	case t.last >= 0:
		v, err := rangeValue(fields[t.at], fields[t.last])
		if err != nil {
			t.out.bad(n, err)
			return nil
		}
		return t.out.add(n, v, t.details(fields))
	}
	return t.out.text(n, unquote(fields[t.at]), t.details(fields))
}

// fields returns a record for a selection: by names, by numbers, and with the usual name
// of a two-letter country code.
func (t *table) fields(values []string) []field {
	if len(t.out.where.conditions) == 0 {
		return nil
	}
	var all []field
	countries := 0
	for i, v := range values {
		if i < len(t.names) {
			all = append(all, field{t.names[i], v})
			if isCountryName(t.names[i]) {
				all = append(all, field{"country", v})
				countries++
			}
		}
		all = append(all, field{strconv.Itoa(i + 1), v})
	}
	if i := max(t.at, t.last) + 1; countries == 0 && i < len(values) && len(values[i]) == 2 {
		all = append(all, field{"country", values[i]})
	}
	return all
}

func isCountryName(s string) bool {
	return slices.Contains([]string{"country_code", "countrycode", "country_iso_code", "alpha2code", "cc"},
		strings.ToLower(s))
}

// details returns the expiry and reason of a record of CrowdSec.
func (t *table) details(fields []string) (d details) {
	if t.names == nil {
		return d
	}
	if i := t.named("duration"); i >= 0 && i < len(fields) {
		if ttl, err := time.ParseDuration(fields[i]); err == nil {
			d.until = t.out.now.Add(ttl)
		}
	}
	for _, name := range []string{"reason", "scenario", "malware"} {
		if i := t.named(name); i >= 0 && i < len(fields) {
			d.reason = fields[i]
			break
		}
	}
	return d
}

func isNumeric(s string) bool { return digits(s) && len(s) <= 39 }

// numbers adds a range of addresses that are decimal numbers. Numbers below 2^32 are
// IPv4.
func (t *table) numbers(n int, first, last string) error {
	from, err1 := numericAddr(first)
	to, err2 := numericAddr(last)
	if err := errors.Join(err1, err2); err != nil {
		t.out.badf(n, "%s,%s is not a range of addresses as numbers", quote(first), quote(last))
		return nil
	}
	v, err := between(from, to)
	if err != nil {
		t.out.bad(n, err)
		return nil
	}
	return t.out.add(n, v, details{})
}

func numericAddr(s string) (netip.Addr, error) {
	n, ok := new(big.Int).SetString(s, 10)
	if !isNumeric(s) || !ok || n.BitLen() > 128 {
		return netip.Addr{}, errors.New("not a number of 128 bits")
	}
	if n.BitLen() <= 32 {
		return netip.AddrFrom4([4]byte(n.FillBytes(make([]byte, 4)))), nil
	}
	return netip.AddrFrom16([16]byte(n.FillBytes(make([]byte, 16)))).Unmap(), nil
}

// splitFields splits a record. Quotes hide separators, and "" in them is a quote.
func splitFields(line string, sep byte) ([]string, error) {
	if sep == 0 {
		return strings.Fields(line), nil
	}
	var fields []string
	for {
		line = strings.TrimLeft(line, " ")
		var f string
		if strings.HasPrefix(line, `"`) {
			text, rest, err := quoted(line[1:])
			if err != nil {
				return nil, err
			}
			f, line = text, strings.TrimLeft(rest, " ")
			if line != "" && line[0] != sep {
				return nil, fmt.Errorf("%s follows a quoted field", quote(line))
			}
		} else if i := strings.IndexByte(line, sep); i >= 0 {
			f, line = strings.TrimSpace(line[:i]), line[i:]
		} else {
			f, line = strings.TrimSpace(line), ""
		}
		if fields = append(fields, f); line == "" {
			return fields, nil
		}
		if len(fields) > mostColumns {
			return nil, fmt.Errorf("the record has more than %d columns", mostColumns)
		}
		line = line[1:]
	}
}

func quoted(s string) (text, rest string, err error) {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '"')
		if i < 0 {
			return "", "", errors.New("a quote does not end on its line")
		}
		b.WriteString(s[:i])
		if s = s[i+1:]; !strings.HasPrefix(s, `"`) {
			return b.String(), s, nil
		}
		b.WriteByte('"')
		s = s[1:]
	}
}
