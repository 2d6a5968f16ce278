package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"mintmark/internal/audit/auditor"
	"mintmark/internal/ledger/sqldb"
)

func newAuditRebuild(a *app) *cobra.Command {
	var f auditFlags
	var to string
	var anyway bool
	c := a.command("rebuild --to FILE [flags]", "Make a ledger from an issuance log",
		`Rebuild makes a new ledger from the issuance log of the server whose ledger was lost. It
verifies log and heads first, the signatures of certificates apart, and stops at anything that
is found; --anyway goes on, as long as the log is not broken. No server may run on the log. The new ledger takes the place of ledger.db
in the state directory with that log; docs/audit.md has the procedure, and what is not restored.`,
		`  mintmark audit rebuild --dir ./factory --to ./ledger.db
  mintmark audit rebuild --log ./copy/log --heads ./copy/heads --key ./factory.vkey --to ./ledger.db`, cobra.NoArgs,
		func(c *cobra.Command, _ []string) error {
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
					return fmt.Errorf("found %s that must not be, and rebuilt nothing: --anyway goes on", things(report.Found, "thing"))
				}
			}
			writing := newCounter(a, "rebuilding")
			done, err := sqldb.Replay(c.Context(), sqldb.Config{Path: to}, settings.Logs, writing.set)
			writing.end()
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
				}{to, done.Records, done.Kinds, done.Aborted, done.Open})
			}
			t := newTable(a.out)
			t.field("ledger", to)
			t.field("records", fmt.Sprintf("%d applied, %d of aborted batches left out", done.Records, done.Aborted))
			for _, kind := range slices.Sorted(maps.Keys(done.Kinds)) {
				t.field("  "+kind, fmt.Sprint(done.Kinds[kind]))
			}
			t.field("open intents", fmt.Sprintf("%d, void once the server starts", done.Open))
			return t.flush()
		})
	f.bind(c)
	c.Flags().StringVar(&to, "to", "", "`file` to be made: it must not exist")
	c.Flags().BoolVar(&anyway, "anyway", false, "rebuild although something was found")
	require(c, "to")
	return c
}
