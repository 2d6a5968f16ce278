package rotation

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"

	"mintmark/internal/access"
	"mintmark/internal/ledger"
)

// statementTitle is the first line of every statement: what is signed under it cannot be
// taken for anything else that officers sign.
const statementTitle = "mintmark rotation v1"

// Statement is what officers sign for a gate: text that names the rotation, the gate and
// the hash of the plan. Two different moves never have the same one.
func Statement(r ledger.Rotation, gate State) []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, statementTitle)
	for _, field := range [][2]string{
		{"id", r.ID},
		{"kind", string(r.Kind)},
		{"old", r.Old},
		{"new", r.New},
		{"gate", string(gate)},
		{"plan-sha256", PlanHash(r)},
	} {
		fmt.Fprintf(&b, "%s: %s\n", field[0], plain(field[1]))
	}
	return b.Bytes()
}

var plainText = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// plain is the text itself, or a quoted form that no plain text has.
func plain(text string) string {
	if plainText.MatchString(text) {
		return text
	}
	return strconv.QuoteToASCII(text)
}

// signer finds the officer in force of that name, with a key that can sign. The text says
// why there is none.
func signer(principals []ledger.Principal, name string) (ledger.Principal, string) {
	p, ok := access.ByName(principals, name)
	switch {
	case !ok:
		return p, fmt.Sprintf("%q is nobody in force here", name)
	case !access.Of(p).Has(access.Officer):
		return p, fmt.Sprintf("%s is not an officer", name)
	}
	if _, err := access.ParseKey(p.Key); err != nil {
		return p, fmt.Sprintf("%s has no key that can sign: %v", name, err)
	}
	return p, ""
}

// verify holds one signature against the officer's key as it is recorded now; the text says
// why it does not count.
func verify(principals []ledger.Principal, r ledger.Rotation, s ledger.GateSignature) (ledger.Principal, string) {
	officer, why := signer(principals, s.Officer)
	if why != "" {
		return officer, why
	}
	key, err := access.ParseKey(officer.Key)
	if err == nil {
		err = access.Verify(key, Statement(r, State(s.Gate)), s.Signature)
	}
	if err != nil {
		return officer, fmt.Sprintf("%s: %v", s.Officer, err)
	}
	return officer, ""
}

// signatures tells which officers' signatures for a gate count, and why others do not. Each
// is verified again: who is no officer any more does not count, and one key counts once,
// whatever the names.
func signatures(principals []ledger.Principal, r ledger.Rotation, gate State) (names, not []string) {
	var keys [][]byte
	for _, s := range r.Signatures {
		if s.Gate != string(gate) {
			continue
		}
		officer, why := verify(principals, r, s)
		if why == "" && contains(keys, officer.Key) {
			why = fmt.Sprintf("%s signed by a key that has signed already", s.Officer)
		}
		if why != "" {
			not = append(not, why)
			continue
		}
		keys = append(keys, officer.Key)
		names = append(names, s.Officer)
	}
	return names, not
}

func contains(keys [][]byte, key []byte) bool {
	for _, k := range keys {
		if bytes.Equal(k, key) {
			return true
		}
	}
	return false
}
