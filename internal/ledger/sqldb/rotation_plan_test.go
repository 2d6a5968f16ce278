package sqldb

import (
	"time"

	"mintmark/internal/ledger"
)

var planNow = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// checkRotationPlans says what index each query about rotations and revocation is to
// find in SQLite.
func checkRotationPlans(check func(name, text, want string, args ...any)) {
	query := &ledger.AnchorQuery{Rotation: "r-1", Issuers: []string{"line-1", "line-2"}, New: "line-3", Now: planNow}
	text, args := selectFleet(query, "dev-1", devicesInPage)
	for _, want := range []string{
		"SEARCH d USING PRIMARY KEY (id>?)", "SEARCH c USING INDEX sqlite_autoindex_certificates_1 (serial=?)",
		"SEARCH k USING INDEX sqlite_autoindex_certificates_1 (serial=?)", "SEARCH x USING INDEX certificates_device (device=?)",
		"SEARCH y USING INDEX certificates_device (device=?)",
		"SEARCH b USING INDEX certificates_device (device=?)", "SEARCH a USING PRIMARY KEY (rotation=? AND device=?)",
	} {
		check("devices of a rotation", text, want, args...)
	}
	text, args = selectGateways(query, "dev-1", "dev-2")
	check("gateways of a rotation", text, "SEARCH g USING INDEX certificates_gateway (device>? AND device<?)", args...)
	text, args = selectGateways(query, "dev-1", "")
	check("last gateways of a rotation", text, "SEARCH g USING INDEX certificates_gateway (device>?)", args...)
	for name, c := range map[string]struct {
		selector ledger.Selector
		want     string
	}{
		"of a device":         {ledger.Selector{Device: "d"}, "certificates_device (device=?)"},
		"of an order":         {ledger.Selector{Order: "wo-1"}, "certificates_order (order_id=?)"},
		"of an issuer":        {ledger.Selector{Issuer: "line-1", Limit: 5, After: "00ff"}, "certificates_issuer (issuer=? AND serial>?)"},
		"superseded":          {ledger.Selector{Issuer: "line-1", Limit: 5, Superseded: true, After: "00ff"}, "certificates_issuer (issuer=? AND serial>?)"},
		"superseded by what":  {ledger.Selector{Issuer: "line-1", Limit: 5, Superseded: true}, "SEARCH n EXISTS USING INDEX certificates_device (device=? AND not_after>?)"},
		"of a key":            {ledger.Selector{Key: [32]byte{1}}, "certificates_spki (spki=?)"},
		"asked for by one":    {ledger.Selector{Requester: "r", RequesterKind: "password", After: "00ff"}, "certificates_requester (requester=? AND serial>?)"},
		"asked for by anyone": {ledger.Selector{Requester: "r"}, "certificates_requester (requester=?)"},
	} {
		text, args := selectSerials(c.selector, planNow)
		check("certificates to revoke, "+name, text, c.want, args...)
	}
	check("a known issuer", sqlKnownIssuer, "certificates_issuer (issuer=?)", "i")
	check("a known key", sqlKnownKey, "certificates_spki (spki=?)", []byte{1})
	check("a known requester", sqlKnownRequester, "certificates_requester (requester=?)", "r", "")
	check("changes", sqlChangesAfter, "SEARCH changes USING INTEGER PRIMARY KEY (rowid>?)", 1, 1)
	check("tasks of a key", sqlTasksOf, "outbox_task (task_key=?)", "k")
	check("lives", sqlLives, "SEARCH d USING PRIMARY KEY (id>?)", "d", 10)
	text, args = selectOverdue(planNow, 80, "d", 10)
	check("overdue devices", text, "SEARCH d USING PRIMARY KEY (id>?)", args...)
	check("refusals by rule", sqlRefusalsByRule, "refusals_", 1)
	check("journal", sqlJournal, "SEARCH rotation_journal USING PRIMARY KEY (rotation=? AND number>?)", "r", 1, 1)
}

// checkRotationPlansPostgres is the same with PostgreSQL.
func checkRotationPlansPostgres(check func(name, text, want string, args ...any)) {
	query := &ledger.AnchorQuery{Rotation: "r-1", Issuers: []string{"line-1"}, New: "line-2", Now: planNow}
	text, args := selectFleet(query, "dev-1", 100)
	for _, want := range []string{"devices_pkey", "certificates_pkey", "certificates_device"} {
		check("devices of a rotation", text, want, args...)
	}
	text, args = selectGateways(query, "dev-1", "dev-2")
	check("gateways of a rotation", text, "Index Scan using certificates_", args...)
	for name, c := range map[string]struct {
		selector ledger.Selector
		want     string
	}{
		"of a device":      {ledger.Selector{Device: "dev-7"}, "certificates_device"},
		"of an issuer":     {ledger.Selector{Issuer: "line-1", Limit: 5, After: "00ff"}, "Index Scan using certificates_"},
		"superseded":       {ledger.Selector{Issuer: "line-1", Limit: 5, Superseded: true, After: "00ff"}, "certificates_device"},
		"of a key":         {ledger.Selector{Key: [32]byte{1}}, "certificates_spki"},
		"asked for by one": {ledger.Selector{Requester: "nobody", RequesterKind: "password"}, "certificates_requester"},
	} {
		text, args := selectSerials(c.selector, planNow)
		check("certificates to revoke, "+name, text+" FOR UPDATE OF c", c.want, args...)
	}
	check("a known requester", sqlKnownRequester, "certificates_requester", "nobody", "")
	check("changes", sqlChangesAfter, "changes_pkey", 1, 1)
	check("tasks of a key", sqlTasksOf, "outbox_", "k")
	check("lives", sqlLives, "devices_pkey", "d", 10)
}
