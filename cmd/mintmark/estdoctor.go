package main

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mintmark/issuer/est/doctor"
)

// doctorFlags are what the doctor is told of a server.
type doctorFlags struct {
	est       estFlags
	config    doctor.Config
	pairs     []*certificateFlags
	sharedKey string
	verbose   bool
}

// certificateFlags name a certificate and its key.
type certificateFlags struct {
	name      string
	cert, key string
	into      **tls.Certificate
}

func newESTDoctor(a *app) *cobra.Command {
	var f doctorFlags
	c := a.command("doctor URL [flags]", "Run the checklist of EST against a server",
		`Doctor holds any EST server against a checklist of 98 points: what RFC 7030,
RFC 8951 and RFC 9908 demand, and what clients in the field need. It prints
each point as passed, failed (with what was seen) or not applicable (with the
reason), and exits with 1 if any failed. Before that it looks whether it was
told right: if nothing answers, the trust anchors or the label are others, or
the credential is not taken, it says so and stops.

Without --enroll nothing is issued, and only what needs no certificate is
looked at. With --enroll it has some dozens of certificates issued, under names
made from --name, and leaves them behind; use a label for tests. The more
credentials it is given, the more it checks.`,
		`  mintmark est doctor https://ca.example.org:8443 --ca root.pem --label press
  mintmark est doctor https://ca.example.org:8443 --ca root.pem --label test --enroll --password-file enroll --cert press.pem --key press.key
  mintmark est doctor https://ca.example.org:8443 --ca root.pem --only 45,57-68 --enroll --password-file enroll --json`,
		cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
			f.config.URL = args[0]
			if err := f.open(); err != nil {
				return err
			}
			if f.config.Wait > 0 {
				f.config.Waiting = func(approve, reject string) {
					a.say("two requests wait for an approval: approve the one for %s and reject the one for %s, within %v", printable(approve), printable(reject), f.config.Wait)
				}
			}
			a.warnReadable(f.est.passwordFile)
			if err := doctor.Preflight(c.Context(), f.config); err != nil {
				return err
			}
			report := newDoctorReport(a, &f)
			if err := doctor.Run(c.Context(), f.config, report.add); err != nil {
				return err
			}
			if f.config.Enroll {
				named, _, _ := strings.Cut(f.config.Name, "{n}")
				a.say("what was issued stays behind: devices whose names begin with %s (mintmark device list --find shows them there)", printable(named))
			}
			return report.close()
		})
	f.bind(c)
	return c
}

func (f *doctorFlags) bind(c *cobra.Command) {
	flags, config := c.Flags(), &f.config
	flags.StringVar(&config.Label, "label", "", "EST `label` (default the paths without one)")
	flags.StringVar(&f.est.ca, "ca", "", "`file` with the trust anchors for the server's certificate (default the system's)")
	flags.StringVar(&f.est.user, "user", "", "`name` for the password; without it the file holds name:password")
	flags.StringVar(&f.est.passwordFile, "password-file", "", "`file` with a password that enrolls")
	for _, pair := range []struct {
		prefix, what string
		into         **tls.Certificate
	}{
		{"", "that the server has issued to a device", &config.Device},
		{"maker-", "of a device maker whom the label trusts", &config.Maker},
		{"ra-", "of a registration authority", &config.RA},
		{"expired-", "of the server's that expired before any grace", &config.Expired},
		{"revoked-", "of the server's that is revoked", &config.Revoked},
	} {
		p := &certificateFlags{name: pair.prefix + "cert", into: pair.into}
		flags.StringVar(&p.cert, pair.prefix+"cert", "", "`file` with a certificate "+pair.what)
		flags.StringVar(&p.key, pair.prefix+"key", "", "`file` with its key")
		c.MarkFlagsRequiredTogether(pair.prefix+"cert", pair.prefix+"key")
		f.pairs = append(f.pairs, p)
	}
	flags.BoolVar(&config.Both, "both", false, "enroll with a certificate and the password")
	flags.BoolVar(&config.Enroll, "enroll", false, "let certificates be issued")
	flags.StringVar(&config.Name, "name", "", "common `name` of devices to enroll; {n} in it becomes a number (default new names)")
	flags.BoolVar(&config.Linked, "linked", false, "the label is to demand proof-of-possession linking")
	flags.BoolVar(&config.Rollover, "rollover", false, "the root is being changed")
	flags.BoolVar(&config.Keygen, "keygen", false, "the label is to offer serverkeygen")
	flags.StringVar(&config.SharedID, "symmetric-key-id", "", "`name` of a key that the server has, too, for serverkeygen")
	flags.StringVar(&f.sharedKey, "symmetric-key-file", "", "`file` with that key, in hexadecimal")
	c.MarkFlagsRequiredTogether("symmetric-key-id", "symmetric-key-file")
	flags.DurationVar(&config.Wait, "wait", 0, "how long to wait for one request to be approved and another to be rejected")
	flags.DurationVar(&config.Timeout, "timeout", 10*time.Second, "how long one exchange may take")
	flags.Var((*pointList)(&config.Only), "only", "`numbers` of the points to run, as in 45,57-68 (default all)")
	flags.BoolVar(&f.verbose, "verbose", false, "say what was seen of points that passed, too")
}

// open reads the files that the flags name.
func (f *doctorFlags) open() error {
	if err := f.est.open(); err != nil {
		return err
	}
	f.config.RootCAs = f.est.client.RootCAs
	if f.config.Name == "" {
		var b [4]byte
		rand.Read(b[:])
		f.config.Name = "est-doctor-" + hex.EncodeToString(b[:]) + "-{n}"
	}
	if f.est.passwordFile != "" {
		f.config.User, f.config.Password, f.config.HasPassword = f.est.client.User, f.est.client.Password, true
	}
	for _, p := range f.pairs {
		if p.cert == "" {
			continue
		}
		key, err := readKey(p.key)
		if err != nil {
			return err
		}
		if *p.into, err = certificateWith(p.cert, p.key, key); err != nil {
			return err
		}
	}
	if f.sharedKey == "" {
		return nil
	}
	var err error
	f.config.SharedKey, err = readSymmetric(f.sharedKey)
	return err
}

// pointList reads numbers of points and ranges of them.
type pointList []int

func (l *pointList) String() string { return strings.Trim(fmt.Sprint([]int(*l)), "[]") }

func (l *pointList) Type() string { return "numbers" }

func (l *pointList) Set(text string) error {
	for _, part := range strings.Split(text, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, err1 := strconv.Atoi(strings.TrimSpace(from))
		last, err2 := strconv.Atoi(strings.TrimSpace(to))
		switch most := len(doctor.Points()); {
		case err1 != nil || err2 != nil || first > last:
			return fmt.Errorf("%q is neither a number nor a range of numbers as in 57-68", part)
		case first < 1 || last > most:
			return fmt.Errorf("there is no point %q: they are numbered 1 to %d", part, most)
		}
		for n := first; n <= last; n++ {
			*l = append(*l, n)
		}
	}
	return nil
}

// checked is the outcome of a point for a program.
type checked struct {
	Number  int           `json:"number"`
	Level   doctor.Level  `json:"level"`
	Section string        `json:"section"`
	Title   string        `json:"title"`
	Status  doctor.Status `json:"status"`
	Text    string        `json:"text"`
}

// doctorReport shows points as they come, or all of them at the end in JSON.
type doctorReport struct {
	app     *app
	url     string
	label   string
	verbose bool
	colours bool
	list    []checked
	count   map[doctor.Status]int
	err     error
}

func newDoctorReport(a *app, f *doctorFlags) *doctorReport {
	return &doctorReport{
		app: a, url: f.config.URL, label: f.config.Label, verbose: f.verbose, colours: coloured(a.out),
		list: []checked{}, count: make(map[doctor.Status]int),
	}
}

// words are what stands in the column, and its colour on a terminal.
var doctorWords = map[doctor.Status]struct{ word, colour string }{
	doctor.Pass:          {"pass", "32"},
	doctor.Fail:          {"FAIL", "1;31"},
	doctor.NotApplicable: {"n/a ", "2"},
}

func (r *doctorReport) add(p doctor.Point, result doctor.Result) {
	if len(r.list) == 0 && !r.app.json {
		r.line("M an RFC says MUST, S SHOULD or MAY, D follows from the purpose, I clients need it")
	}
	r.count[result.Status]++
	r.list = append(r.list, checked{p.Number, p.Level, p.Section, p.Title, result.Status, printable(result.Text)})
	if r.app.json {
		return
	}
	word := doctorWords[result.Status]
	status := word.word
	if r.colours {
		status = "\x1b[" + word.colour + "m" + status + "\x1b[0m"
	}
	r.line("%3d %s %s  %s (%s)", p.Number, p.Level, status, p.Title, p.Section)
	switch {
	case result.Status == doctor.Fail:
		r.line("           seen:    %s", printable(result.Text))
		r.line("           checked: %s", p.How)
	case result.Status == doctor.NotApplicable:
		r.line("           %s", printable(result.Text))
	case r.verbose && result.Text != "":
		r.line("           %s", printable(result.Text))
	}
}

func (r *doctorReport) line(format string, args ...any) {
	if _, err := fmt.Fprintf(r.app.out, format+"\n", args...); err != nil && r.err == nil {
		r.err = err
	}
}

// close writes the sum, and is an error if a point failed.
func (r *doctorReport) close() error {
	passed, failed, skipped := r.count[doctor.Pass], r.count[doctor.Fail], r.count[doctor.NotApplicable]
	if r.app.json {
		r.err = r.app.printJSON(struct {
			URL           string    `json:"url"`
			Label         string    `json:"label,omitempty"`
			Points        []checked `json:"points"`
			Passed        int       `json:"passed"`
			Failed        int       `json:"failed"`
			NotApplicable int       `json:"not_applicable"`
		}{r.url, r.label, r.list, passed, failed, skipped})
	} else {
		r.line("%d passed, %d failed, %d not applicable", passed, failed, skipped)
	}
	if r.err != nil {
		return r.err
	}
	if failed > 0 {
		var numbers []string
		for _, c := range r.list {
			if c.Status == doctor.Fail {
				numbers = append(numbers, fmt.Sprint(c.Number))
			}
		}
		return fmt.Errorf("the server fails: %s", strings.Join(numbers, ", "))
	}
	return nil
}

// coloured reports whether an output is a terminal whose user wants colours
// (https://no-color.org).
func coloured(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && !isNull(info)
}
