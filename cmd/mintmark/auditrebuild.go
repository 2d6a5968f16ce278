package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mintmark/internal/audit/auditor"
	"mintmark/internal/keystore"
	"mintmark/internal/ledger/sqldb"
)

func newAuditRebuild(a *app) *cobra.Command {
	var f auditFlags
	var to, url, passwordFile string
	var anyway bool
	c := a.command("rebuild --to FILE | --to-url URL [flags]", "Make a ledger from issuance logs",
		`Rebuild makes a new ledger from the issuance logs of the servers whose ledger
was lost. It verifies log and heads first, the signatures of certificates
apart, and stops at anything that is found; --anyway goes on, as long as no log
is broken. No server may run on any of the logs.

With --to the new ledger takes the place of ledger.db in the state directory
with that log. With --to-url it is written into an empty PostgreSQL database,
from the logs of all of its servers. docs/audit.md has the procedure, and what
is not restored.`,
		`  mintmark audit rebuild --dir ./factory --to ./ledger.db
  mintmark audit rebuild --log ./copy/log --heads ./copy/heads --key ./factory.vkey --to ./ledger.db
  mintmark audit rebuild --log ./line-a/log --log ./line-b/log --to-url postgres://mintmark@db.example/mintmark?sslmode=verify-full`, cobra.NoArgs,
		func(c *cobra.Command, _ []string) error {
			into := sqldb.Config{Path: to, URL: url}
			if (to == "") == (url == "") {
				return usagef("name either a new file with --to or an empty database with --to-url")
			}
			if url != "" {
				into.Server = "audit-rebuild"
			}
			if passwordFile != "" {
				read := keystore.PassphraseFile(passwordFile)
				into.Password = func() (string, error) {
					secret, err := read()
					return strings.TrimSpace(string(secret)), err
				}
			}
			settings, err := a.auditConfig(f)
			if err != nil {
				return err
			}
			verifying := newCounter(a, "verifying")
			settings.Progress, settings.Unread = verifying.set, true
			report, err := auditor.Verify(c.Context(), settings)
			verifying.end()
			if err != nil {
				return err
			}
			if report.Found > 0 {
				for _, finding := range report.Findings {
					a.say("found: %s", printable(finding.String()))
				}
				if !anyway {
					return fmt.Errorf("found %s that must not be, and rebuilt nothing: --anyway goes on, unless a log is broken; then take a copy that is whole", things(report.Found, "thing"))
				}
			}
			writing := newCounter(a, "rebuilding")
			done, err := sqldb.Replay(c.Context(), into, settings.Logs, writing.set)
			writing.end()
			if err != nil && url != "" {
				return fmt.Errorf("%w. If this wrote part of a ledger, that stays there: name another database that is empty", err)
			}
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(struct {
					To      string           `json:"to"`
					Records int64            `json:"records"`
					Kinds   map[string]int64 `json:"kinds"`
					Aborted int64            `json:"aborted"`
					Open    int64            `json:"open"`
				}{cmp.Or(to, "database"), done.Records, done.Kinds, done.Aborted, done.Open})
			}
			t := newTable(a.out)
			t.field("ledger", cmp.Or(to, "the database of --to-url"))
			t.field("records", fmt.Sprintf("%d applied, %d of aborted batches left out", done.Records, done.Aborted))
			for _, kind := range slices.Sorted(maps.Keys(done.Kinds)) {
				t.field("  "+kind, fmt.Sprint(done.Kinds[kind]))
			}
			t.field("open intents", fmt.Sprintf("%d, void once the server starts", done.Open))
			return t.flush()
		})
	f.bind(c)
	c.Flags().StringVar(&to, "to", "", "`file` to be made: it must not exist")
	c.Flags().StringVar(&url, "to-url", "", "`URL` of an empty PostgreSQL database, without a password")
	c.Flags().StringVar(&passwordFile, "password-file", "", "`file` with the password of --to-url")
	c.Flags().BoolVar(&anyway, "anyway", false, "rebuild although something was found")
	return c
}
