package bench

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// A row is one figure that can be measured.
type row struct {
	name   string
	group  string
	about  string // what it is, for --list
	wanted string // what it is to reach; empty for a reference
}

// The groups, in the order in which they run. All figures of a group are of one server.
const (
	groupToken    = "Keys in a token"
	groupEST      = "EST enrollment, SQLite, one core of the server"
	groupBatch    = "A batch with generated keys, both cores"
	groupPostgres = "The ledger in PostgreSQL"
	groupScale    = "A large ledger"
)

// rows are all figures. Those of groupScale are named after the number of certificates.
func rows(scale int) []row {
	return []row{
		{hsmRatio, groupToken, "P-256 signatures through the key store, of C_Sign alone, 8 sessions", "at least 0.80"},
		{hsmSessions, groupToken, "32 sessions of one, where C_Sign takes 5 ms longer", "at least 25"},

		{rawFigure, groupEST, "x509.CreateCertificate in a loop on the server's core", ""},
		{keepalive8, groupEST, "simpleenroll by client certificate, 8 clients, connections kept", ""},
		{keepalive64, groupEST, "the same with 64 clients", "at least 0.30 of raw"},
		{newTLS8, groupEST, "8 clients, a new full handshake for each enrollment", ""},
		{newTLS64, groupEST, "the same with 64 clients", "at least 0.13 of raw"},
		{newTLS64X25519, groupEST, "the same with the key exchange of most devices, X25519 alone", ""},
		{halfLoad, groupEST, "p99 at half of the rate of est_keepalive_64, from the time when each request was due", "under 25 ms"},
		{presigned, groupEST, "OCSP answers that are kept signed, 64 connections", "at least 5000"},
		{rssIdle, groupEST, "memory of the server, 10 s after its start", "under 60 MB"},
		{rssLoad, groupEST, "most memory of the server under the loads above", "under 200 MB"},

		{keygenCreate, groupBatch, "a key and x509.CreateCertificate for it in a loop on both cores", ""},
		{batchP256, groupBatch, "mintmark batch create, as a whole, encrypted to the customer", "at least 0.60 of keygen_create_2cores"},

		{postgres64, groupPostgres, "as est_keepalive_64, with the database on the core of the load or on both", "at least 0.20 of raw"},

		{estRatio(scale), groupScale, "est_keepalive_64, of its rate with an empty ledger; caches dropped", "at least 0.85"},
		{queryWorst(scale), groupScale, "slowest of all questions that the admin API has an index for; caches dropped", "under 10 ms"},
		{bytesDatabase, groupScale, "bytes of the database for each certificate", "at most 1200"},
		{bytesLog, groupScale, "bytes of the issuance log for each certificate", "at most 1200"},
		{startTime(scale), groupScale, "from the start of the process to the first certificate", "under 400 ms"},
	}
}

// The figures that are named after the number of certificates.
func estRatio(scale int) string   { return "est_" + scaleName(scale) + "_ratio" }
func queryWorst(scale int) string { return "query_" + scaleName(scale) + "_worst" }
func startTime(scale int) string  { return "start_" + scaleName(scale) }

// scaleName is how names of figures say a number of certificates: 5m, 200k.
func scaleName(n int) string {
	switch {
	case n == 0:
		return "5m"
	case n%1_000_000 == 0:
		return fmt.Sprintf("%dm", n/1_000_000)
	case n%1000 == 0:
		return fmt.Sprintf("%dk", n/1000)
	}
	return fmt.Sprint(n)
}

// List writes what can be measured.
func List(out io.Writer, scale int) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	group := ""
	for _, r := range rows(scale) {
		if r.group != group {
			if group = r.group; group != groupToken {
				fmt.Fprintln(w)
			}
			fmt.Fprintln(w, group)
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\n", r.name, r.about, r.wanted)
	}
	return w.Flush()
}

// selection are the names to measure.
type selection map[string]bool

// selectRows checks the names that were asked for; all of them if there are none.
func selectRows(only []string, scale int) (selection, error) {
	s := selection{}
	all := rows(scale)
	for _, name := range only {
		if !slices.ContainsFunc(all, func(r row) bool { return r.name == name }) {
			return nil, fmt.Errorf("there is no figure %q: mintmark bench --list says which there are", name)
		}
		s[name] = true
	}
	if len(only) == 0 {
		for _, r := range all {
			s[r.name] = true
		}
	}
	return s, nil
}

// wants reports whether one of the names is to be measured.
func (s selection) wants(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return s[name] })
}

// needs reports whether a load has to run, for itself or for what is measured after it.
func (s selection) needs(load string) bool {
	return s.wants(load, rssLoad) || load == keepalive64 && s.wants(halfLoad)
}

// group reports whether anything of a group is to be measured.
func (s selection) group(name string, scale int) bool {
	return slices.ContainsFunc(rows(scale), func(r row) bool { return r.group == name && s[r.name] })
}
