package doctor

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/est-checklist.md")

const (
	documentFile = "../../../docs/est-checklist.md"
	documentHead = `# The checklist of EST

What an EST server must do, point by point: what RFC 7030, RFC 8951, RFC 8996, RFC 9148, RFC 9266 and RFC 9908 demand,
what follows from their purpose, and what clients in the field need beyond them. ` + "`mintmark est doctor URL`" + ` holds any
server against it:

    mintmark est doctor https://ca.example.org:8443 --ca root.pem --label press
    mintmark est doctor https://ca.example.org:8443 --ca root.pem --label test --enroll --password-file enroll \
        --cert press.pem --key press.key

Without ` + "`--enroll`" + ` nothing is issued, and points that need a certificate are not applicable; so is everything for which
a credential is missing. With it, some dozens of certificates are issued under names made from ` + "`--name`" + `: give it a
label for tests. What a label is meant to do and does not show, say ` + "`--linked`, `--keygen`, `--rollover`" + `; where requests
wait for an approval, ` + "`--wait 5m`" + ` says which one to approve and which to reject.

Each point that our server shows is tested in issuer/est/doctor, twice: it holds for our server, and it fails for a server
that differs in just that point (` + "`go test ./issuer/est/doctor -run TestPoint/45`" + `).

This page is made from the code; a test compares it. To write it again:
` + "`go test ./issuer/est/doctor -run TestDocument -update`" + `.

Level: **M** an RFC says MUST; **S** SHOULD, RECOMMENDED or MAY; **D** derived, in no RFC; **I** interoperability, measured
with the clients that are named.

| | | Demanded | Where | How it is checked |
|---|---|---|---|---|
`
)

// document is the page that the table of points makes.
func document() []byte {
	var b bytes.Buffer
	b.WriteString(documentHead)
	for _, p := range Points() {
		how := p.How
		if why := elsewhere[p.Number]; why != "" {
			how += ". Not tested with our server: " + why
		}
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s |\n", p.Number, p.Level, p.Title, p.Section, how)
	}
	return b.Bytes()
}

// TestDocument compares docs/est-checklist.md with the code.
func TestDocument(t *testing.T) {
	if *update {
		if err := os.WriteFile(documentFile, document(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(documentFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, document()) {
		t.Error("docs/est-checklist.md is not what the points say: go test ./issuer/est/doctor -run TestDocument -update")
	}
}
