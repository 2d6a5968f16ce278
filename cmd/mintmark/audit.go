package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/mod/sumdb/note"

	"mintmark/internal/audit/auditor"
	"mintmark/internal/audit/heads"
	"mintmark/internal/config"
)

func newAudit(a *app) *cobra.Command {
	c := a.group("audit", "Verify the issuance log, and rebuild the ledger from it",
		`Audit works on copies of issuance logs and of their signed heads. It needs no
server and no state directory; without --log it takes those of --dir.`,
		`  mintmark audit verify --log ./copy/log --heads ./copy/heads --key ./factory.vkey
  mintmark audit rebuild --log ./copy/log --to ./ledger.db`)
	c.AddCommand(newAuditVerify(a), newAuditRebuild(a), newAuditKey(a), newAuditHead(a))
	return c
}

// auditFlags say what is verified.
type auditFlags struct {
	logs, heads, keys []string
	asOf              string
	maxAge            time.Duration
}

func (f *auditFlags) bind(c *cobra.Command) {
	flags := c.Flags()
	flags.StringSliceVar(&f.logs, "log", nil, "`directory` with an issuance log; once for each server (default DIR/log)")
	flags.StringSliceVar(&f.heads, "heads", nil, "`directory` with signed heads, which must be complete; may be repeated")
	flags.StringSliceVar(&f.keys, "key", nil, "verifier `key` of heads, or a file with such keys; may be repeated")
	flags.StringVar(&f.asOf, "as-of", "", "`time` at which the copies were made (default now)")
	flags.DurationVar(&f.maxAge, "max-age", 0, "how old the newest head may be by then (default twice audit.interval of --dir, or 20m)")
}

// config fills in what was not given. Heads and key of the state directory are
// taken only together with its log: they are not evidence for another one.
func (a *app) auditConfig(f auditFlags) (auditor.Config, error) {
	c := auditor.Config{Logs: f.logs, Heads: f.heads, MaxAge: f.maxAge, AsOf: time.Now()}
	if f.asOf != "" {
		t, err := time.Parse(time.RFC3339, f.asOf)
		if err != nil {
			return c, usagef("--as-of %q is not a time as in 2027-01-31T12:00:00Z", f.asOf)
		}
		c.AsOf = t
	}
	if len(c.Logs) == 0 {
		c.Logs = []string{filepath.Join(a.dir, "log")}
		if settings, err := config.Load(a.dir); err == nil && c.MaxAge == 0 {
			c.MaxAge = 2 * settings.Audit.Interval
		}
		own := filepath.Join(a.dir, "heads")
		if _, err := os.Stat(own); err == nil && len(c.Heads) == 0 {
			c.Heads = []string{own}
		}
		if len(f.keys) == 0 && len(c.Heads) > 0 {
			key, err := heads.ReadKey(a.auditKeyFile())
			if err != nil {
				return c, fmt.Errorf("%w; --key names the key that auditors have", err)
			}
			a.say("verifying by the audit key of %s itself: whoever could change the log could sign for it, too. An auditor brings the key and heads from elsewhere", a.dir)
			f.keys = []string{key.Verifier()}
		}
	}
	switch {
	case len(c.Heads) == 0 && len(f.keys) == 0:
		a.say("no heads are verified: nothing shows that the log was not written anew or cut short. --heads and --key name them")
		return c, nil
	case len(c.Heads) == 0:
		return c, usagef("--key is for heads: add --heads")
	case len(f.keys) == 0:
		return c, usagef("heads are verified by a key that the auditor has: add --key. On the server, mintmark audit key prints it")
	}
	var err error
	c.Keys, err = readVerifiers(f.keys)
	return c, err
}

func (a *app) auditKeyFile() string { return filepath.Join(a.dir, "secrets", "audit-key") }

// readVerifiers takes each key as such or as a file that holds some.
func readVerifiers(given []string) (note.Verifiers, error) {
	var texts []string
	for _, key := range given {
		content, err := os.ReadFile(key)
		switch {
		case err == nil:
			texts = append(texts, string(content))
		case errors.Is(err, fs.ErrNotExist) && strings.Count(key, "+") >= 2:
			texts = append(texts, key)
		default:
			return nil, fmt.Errorf("--key %q is neither a verifier key nor a file that can be read: %w", key, err)
		}
	}
	return heads.Verifiers(texts...)
}

func newAuditVerify(a *app) *cobra.Command {
	var f auditFlags
	c := a.command("verify [flags]", "Verify issuance logs and their heads",
		`Verify reads all of the logs and says what is not as it must be: a record that
was changed, removed, moved or put in; a head that is missing, is not signed,
or names another log; an end that was cut off, if the newest head is older than
it may be; and records that cannot follow from one another, as a certificate
that is not what its intent says, that its authority has not signed, or that
was issued twice. The exit status is 1 if anything was found.

Copy heads first and the log after them, and give the time between the two as
--as-of: a head that was made later is then not missed.`,
		`  mintmark audit verify --log ./copy/log --heads ./copy/heads --key ./factory.vkey --as-of 2027-01-31T12:00:00Z
  mintmark audit verify --dir ./factory`, cobra.NoArgs, func(c *cobra.Command, _ []string) error {
			settings, err := a.auditConfig(f)
			if err != nil {
				return err
			}
			count := newCounter(a, "verifying")
			settings.Progress = count.set
			report, err := auditor.Verify(c.Context(), settings)
			count.end()
			if err != nil {
				return err
			}
			if err := a.printAudit(report, len(settings.Heads) > 0); err != nil {
				return err
			}
			if report.Found > 0 {
				return fmt.Errorf("found %s that must not be", things(report.Found, "thing"))
			}
			return nil
		})
	f.bind(c)
	return c
}

// auditLog is the account of a log in JSON.
type auditLog struct {
	Dir       string     `json:"dir"`
	Server    string     `json:"server"`
	Files     int        `json:"files"`
	Batches   int64      `json:"batches"`
	Records   int64      `json:"records"`
	Aborted   int        `json:"aborted"`
	Cuts      int        `json:"cuts"`
	Torn      int64      `json:"torn_bytes"`
	EndBatch  int64      `json:"end_batch"`
	EndHash   string     `json:"end_hash"`
	Heads     int64      `json:"heads"`
	Newest    *time.Time `json:"newest_head,omitempty"`
	Uncovered int64      `json:"records_after_newest_head"`
}

func (a *app) printAudit(r auditor.Report, withHeads bool) error {
	if a.json {
		out := struct {
			Logs         []auditLog        `json:"logs"`
			Records      map[string]int64  `json:"records"`
			Certificates int64             `json:"certificates"`
			Imported     int64             `json:"imported"`
			Revoked      int64             `json:"revoked"`
			Voided       int64             `json:"voided"`
			Open         int64             `json:"open"`
			Authorities  int               `json:"authorities"`
			Approvals    int64             `json:"approvals"`
			Found        int64             `json:"found"`
			Findings     []auditor.Finding `json:"findings"`
		}{
			[]auditLog{}, r.Kinds, r.Certificates, r.Imported, r.Revoked, r.Voided, r.Open, r.Authorities, r.Approvals, r.Found,
			append([]auditor.Finding{}, r.Findings...),
		}
		for _, l := range r.Logs {
			entry := auditLog{
				Dir: l.Dir, Server: l.Server, Files: l.Files, Batches: l.Batches, Records: l.Records, Aborted: l.Aborted, Cuts: l.Cuts, Torn: l.Torn,
				EndBatch: l.Head.Batch, EndHash: fmt.Sprintf("%x", l.Head.Hash), Heads: l.Heads, Uncovered: l.Uncovered,
			}
			if !l.Newest.IsZero() {
				entry.Newest = &l.Newest
			}
			out.Logs = append(out.Logs, entry)
		}
		return a.printJSON(out)
	}
	t := newTable(a.out)
	for _, l := range r.Logs {
		t.field("log", l.Dir)
		t.field("server", l.Server)
		t.field("files", fmt.Sprint(l.Files))
		t.field("records", fmt.Sprintf("%d in %d batches, %d of them aborted", l.Records, l.Batches, l.Aborted))
		t.field("end", fmt.Sprintf("batch %d, hash %x", l.Head.Batch, l.Head.Hash))
		if l.Torn > 0 {
			t.field("torn end", fmt.Sprintf("%d bytes: left by a crash, or being written when the copy was made", l.Torn))
		}
		if withHeads && !l.Newest.IsZero() {
			t.field("heads", fmt.Sprintf("%d verified, the newest of %s", l.Heads, l.Newest.UTC().Format(time.RFC3339)))
			t.field("after it", things(l.Uncovered, "record"))
		}
	}
	t.field("certificates", fmt.Sprintf("%d issued, %d from before, %d revoked", r.Certificates, r.Imported, r.Revoked))
	t.field("intents", fmt.Sprintf("%d void, %d open", r.Voided, r.Open))
	t.field("authorities", fmt.Sprint(r.Authorities))
	t.field("approvals", "signature verified in "+things(r.Approvals, "record"))
	if err := t.flush(); err != nil {
		return err
	}
	for _, f := range r.Findings {
		fmt.Fprintf(a.out, "found: %s\n", printable(f.String()))
	}
	if more := r.Found - int64(len(r.Findings)); more > 0 {
		fmt.Fprintf(a.out, "found: %s more\n", things(more, "thing"))
	}
	if r.Found == 0 {
		fmt.Fprintln(a.out, "nothing was found that must not be")
	}
	return nil
}

// things counts in words.
func things(n int64, name string) string {
	if n == 1 {
		return "1 " + name
	}
	return fmt.Sprintf("%d %ss", n, name)
}

func newAuditKey(a *app) *cobra.Command {
	return a.command("key", "Print the key that verifies signed heads",
		`Key prints the verifier key of the state directory's audit key. Auditors keep
it where whoever runs the server cannot change it.`,
		"  mintmark audit key --dir ./factory", cobra.NoArgs, func(*cobra.Command, []string) error {
			key, err := heads.ReadKey(a.auditKeyFile())
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%w: the server makes it at its first start", err)
			}
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(struct {
					Key string `json:"key"`
				}{key.Verifier()})
			}
			_, err = fmt.Fprintln(a.out, key.Verifier())
			return err
		})
}

func newAuditHead(a *app) *cobra.Command {
	var dir string
	c := a.command("head [flags]", "Print the newest signed head",
		`Head prints the newest signed head of the state directory, to be kept by hand
where there is no other way: on paper, in a mail, in a ticket. It verifies
nothing.`,
		"  mintmark audit head --dir ./factory", cobra.NoArgs, func(*cobra.Command, []string) error {
			if dir == "" {
				dir = filepath.Join(a.dir, "heads")
			}
			name, err := heads.Newest(dir)
			if err != nil {
				return err
			}
			signed, err := heads.Read(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(struct {
					Name string `json:"name"`
					Note string `json:"note"`
				}{name, string(signed)})
			}
			_, err = a.out.Write(signed)
			return err
		})
	c.Flags().StringVar(&dir, "heads", "", "`directory` with heads (default DIR/heads)")
	return c
}

// counter shows on a terminal how many records have been read.
type counter struct {
	bars *mpb.Progress
	bar  *mpb.Bar
}

func newCounter(a *app, words string) *counter {
	if !isTerminal(a.err) {
		return &counter{}
	}
	c := &counter{bars: mpb.New(mpb.WithOutput(a.err), mpb.WithWidth(40))}
	c.bar = c.bars.AddSpinner(0, mpb.PrependDecorators(decor.Name(words, decor.WCSyncSpaceR), decor.CurrentNoUnit("%d records")))
	return c
}

func (c *counter) set(records int64) {
	if c.bar != nil {
		c.bar.SetCurrent(records)
	}
}

func (c *counter) end() {
	if c.bar != nil {
		c.bar.SetTotal(-1, true)
		c.bars.Wait()
	}
}
