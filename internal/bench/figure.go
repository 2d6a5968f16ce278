package bench

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Figure is one line of the result.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// RatioToRaw is the rate divided by that of x509.CreateCertificate on the same core, just
	// before and after; of batch_p256 by that of keygen_create_2cores.
	RatioToRaw float64 `json:"ratio_to_raw,omitempty"`
	// CPUms is the server's processor time for one certificate, in milliseconds, and
	// CPURatio what raw needs of it. They hold on a machine that does other things, too.
	CPUms    float64 `json:"cpu_ms,omitempty"`
	CPURatio float64 `json:"ratio_by_cpu,omitempty"`

	count      int
	batch      float64 // records that shared a durable commit
	p50, p99   time.Duration
	handshakes int64
	note       string
}

// report prints the figures of a group beside what is wanted.
func report(out io.Writer, scale int, group string, figures []Figure) error {
	figures = slices.DeleteFunc(slices.Clone(figures), func(f Figure) bool { return rowOf(scale, f.Name).group != group })
	if len(figures) == 0 {
		return nil
	}
	inOrder(scale, figures)
	fmt.Fprintf(out, "\n%s\n", group)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	loads := slices.ContainsFunc(figures, func(f Figure) bool { return f.p50 > 0 })
	head := "\tvalue\t\tratio\twanted"
	if slices.ContainsFunc(figures, func(f Figure) bool { return f.CPUms > 0 }) {
		head += "\tCPU ms\tratio by CPU"
	}
	if loads {
		head += "\trecords/commit\tp50 ms\tp99 ms\tfull handshakes"
	}
	fmt.Fprintln(w, head)
	for _, f := range figures {
		line := fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t", f.Name, number(f.Value), f.Unit, optional("%.2f", f.RatioToRaw), rowOf(scale, f.Name).wanted,
			optional("%.3f", f.CPUms), optional("%.2f", f.CPURatio), optional("%.1f", f.batch), optional("%.1f", millis(f.p50)), optional("%.1f", millis(f.p99)))
		if f.p50 > 0 {
			line += fmt.Sprint(f.handshakes)
		}
		fmt.Fprintln(w, strings.TrimRight(line, "\t"))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, f := range figures {
		if f.note != "" {
			fmt.Fprintf(out, "  %s: %s\n", f.Name, f.note)
		}
	}
	return nil
}

func rowOf(scale int, name string) row {
	for _, r := range rows(scale) {
		if r.name == name {
			return r
		}
	}
	return row{name: name}
}

// number writes a figure with three digits or more.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func optional(format string, v float64) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf(format, v)
}

// write puts the figures into a file, in the order in which they are listed.
func write(path string, scale int, figures []Figure) error {
	inOrder(scale, figures)
	data, err := json.MarshalIndent(figures, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}

func inOrder(scale int, figures []Figure) {
	order := map[string]int{}
	for i, r := range rows(scale) {
		order[r.name] = i
	}
	slices.SortStableFunc(figures, func(a, b Figure) int { return cmp.Compare(order[a.Name], order[b.Name]) })
}
