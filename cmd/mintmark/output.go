package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// printJSON writes v as the machine-readable form of an output.
func (a *app) printJSON(v any) error {
	encoder := json.NewEncoder(a.out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// say writes a line for people, which scripts need not read.
func (a *app) say(format string, args ...any) { fmt.Fprintf(a.err, format+"\n", args...) }

// table writes aligned columns under a heading.
type table struct {
	w   *tabwriter.Writer
	err error
}

func newTable(out io.Writer, heading ...string) *table {
	t := &table{w: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	if len(heading) > 0 {
		t.row(heading...)
	}
	return t
}

// row writes one line. An empty value shows as a dash.
func (t *table) row(values ...string) {
	shown := make([]string, len(values))
	for i, v := range values {
		shown[i] = printable(v)
		if v == "" {
			shown[i] = "-"
		}
	}
	if _, err := fmt.Fprintln(t.w, strings.Join(shown, "\t")); err != nil && t.err == nil {
		t.err = err
	}
}

// field writes a name and its value, unless that is empty.
func (t *table) field(name, value string) {
	if value == "" {
		return
	}
	if _, err := fmt.Fprintf(t.w, "%s\t%s\n", name, printable(value)); err != nil && t.err == nil {
		t.err = err
	}
}

func (t *table) flush() error {
	if err := t.w.Flush(); err != nil {
		return err
	}
	return t.err
}

// printable replaces what could move the cursor or turn the direction of a line:
// names come from devices.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// date shows a time to the minute.
func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

func dateOf(t *time.Time) string {
	if t == nil {
		return ""
	}
	return date(*t)
}

// day shows a date where the time of day does not matter.
func day(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.DateOnly)
}

// confirm asks on the terminal. Where nobody can answer, the flag must have
// been given.
func (a *app) confirm(question, flag string) error {
	if !a.interactive() {
		return usagef("this asks before it goes on, and nobody can be asked here: add %s if it is meant", flag)
	}
	fmt.Fprintf(a.err, "%s Type yes to go on: ", question)
	answer, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil || strings.TrimSpace(answer) != "yes" {
		return fmt.Errorf("not confirmed: nothing was changed")
	}
	return nil
}

// interactive reports whether a person sits at standard input.
func (a *app) interactive() bool {
	f, ok := a.in.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && !isNull(info)
}

// isNull reports whether a character device is the null device.
func isNull(info os.FileInfo) bool {
	null, err := os.Stat(os.DevNull)
	return err == nil && os.SameFile(info, null)
}
