package ceremony

import (
	"slices"
	"strings"
	"testing"

	"mintmark/internal/config"
	"mintmark/internal/pkitest"
)

// TestParse reads a file with a step of each kind.
func TestParse(t *testing.T) {
	r := newRoom(t)
	text := r.text(everything)
	f, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for i := range f.Steps {
		kinds = append(kinds, f.Steps[i].Kind())
	}
	if want := []string{"root", "issuing", "cross", "cross", "crl", "crl", "destroy"}; !slices.Equal(kinds, want) {
		t.Errorf("the steps are %q, want %q", kinds, want)
	}
	if f.Network != "none" || f.Hash() != hexHash([]byte(text)) || string(f.Bytes()) != text {
		t.Errorf("network %q, hash %s", f.Network, f.Hash())
	}
	issuing := f.Steps[1].Issuing
	if issuing.PathLength == nil || *issuing.PathLength != 0 || len(issuing.CRL) != 1 || timeText(issuing.Until) != "2036-12-01T09:00:00Z" {
		t.Errorf("the issuing step is %+v", issuing)
	}
	if got := typed(" " + strings.ToUpper(Groups(f.Hash())) + "\n"); got != f.Hash() {
		t.Errorf("the hash typed in groups is %q", got)
	}
}

// TestSerials holds that a serial number is read as it is written.
func TestSerials(t *testing.T) {
	r := newRoom(t)
	for _, serial := range []string{`"0123"`, `12`, `12e5`, `7c22e4d2a7aa7ea3d51c44399fda28834ce8`, `"1234567890123456789012345678901234567890"`, `999999999999999999`} {
		f, err := Parse([]byte(strings.Replace(r.text(everything), "serial: 0a5b", "serial: "+serial, 1)))
		if err != nil {
			t.Errorf("%s: %v", serial, err)
		} else if got := f.Steps[5].CRL.Entries[1].Serial; got != strings.Trim(serial, `"`) {
			t.Errorf("%s is read as %s", serial, got)
		}
	}
}

// TestTokens reads tokens in the form of the server's configuration.
func TestTokens(t *testing.T) {
	r := newRoom(t)
	text := r.text(head + `tokens:
  - name: vault
    uri: pkcs11:module-path=/usr/lib/softhsm/libsofthsm2.so;token=vault
    pin: {file: /run/pin}
    spare: {uri: "pkcs11:module-path=/usr/lib/x.so;token=second"}
    sessions: 2
    attempt: 3s
    accept: [CKA_DECRYPT]
steps:
` + rootStep)
	f, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if token := f.Tokens[0]; token.PIN.File != "/run/pin" || token.Attempt.Seconds() != 3 || token.Spare == nil || token.Accept[0] != "CKA_DECRYPT" {
		t.Errorf("the token is %+v", token)
	}
}

// TestBackslash holds that a backslash stands for itself where YAML takes it so.
func TestBackslash(t *testing.T) {
	const purpose = `purpose: The new root of the factory, and what leads to it.`
	good := newRoom(t).text(everything)
	for text, want := range map[string]string{
		`purpose: C:\root # not \e`:    `C:\root`,
		`purpose: 'C:\root'`:           `C:\root`,
		"purpose: |\n  C:\\root":       `C:\root`,
		"# C:\\root\npurpose: \"a\"":   "a",
		`purpose: "a" # C:\root, "\e"`: "a",
	} {
		f, err := Parse([]byte(strings.Replace(good, purpose, text, 1)))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if strings.TrimSpace(f.Purpose) != want {
			t.Errorf("%s is read as %q", text, f.Purpose)
		}
	}
}

// TestAcceptAsTheServer holds that a ceremony can waive what the server's
// configuration can, and nothing else.
func TestAcceptAsTheServer(t *testing.T) {
	good := newRoom(t).text(everything)
	waived := 0
	for _, name := range []string{
		"CKA_TOKEN", "CKA_PRIVATE", "CKA_SENSITIVE", "CKA_EXTRACTABLE", "CKA_SIGN", "CKA_DECRYPT", "CKA_UNWRAP", "CKA_DERIVE", "CKA_SIGN_RECOVER",
		"CKA_ALWAYS_AUTHENTICATE", "CKA_ALWAYS_SENSITIVE", "CKA_NEVER_EXTRACTABLE", "CKA_LOCAL", "CKA_MODIFIABLE", "CKA_ENCRYPT", "cka_local",
	} {
		token := "{name: a, uri: \"pkcs11:module-path=/usr/lib/x.so;token=x\", pin: {file: p}, accept: [" + name + "]}"
		_, here := Parse([]byte(good + "tokens: [" + token + "]\n"))
		_, there := config.Parse([]byte("keys: {tokens: [" + token + "]}\n"))
		if there == nil {
			t.Fatal("a configuration without a label was accepted")
		}
		switch refused := strings.Contains(there.Error(), "].accept["); {
		case (here != nil) != refused:
			t.Errorf("%s: a ceremony says %v, the server %v", name, here, there)
		case here == nil:
			waived++
		}
	}
	if waived != len(acceptable) {
		t.Errorf("%d attributes were waived, want %d", waived, len(acceptable))
	}
}

// TestParseRefuses changes one thing of a good file in each row.
func TestParseRefuses(t *testing.T) {
	r := newRoom(t)
	good := r.text(everything)
	for _, c := range []struct{ name, old, new, want string }{
		{"another version", "ceremony: 1", "ceremony: 2", "version of the format"},
		{"misspelt key", "purpose:", "porpoise:", "porpoise"},
		{"misspelt limit", "path_length: 0", "pathlength: 0", "pathlength"},
		{"key twice", "name: root-2026\n", "name: root-2026\nname: other\n", "name"},
		{"no purpose", "purpose: The new root of the factory, and what leads to it.", "purpose: \"\"", "purpose"},
		{"bad name", "name: root-2026", "name: Root 2026", "must match"},
		{"network", "purpose:", "network: some\npurpose:", "neither none nor allowed"},
		{"no threshold", "threshold: 2", "threshold: 0", "officers.threshold"},
		{"more than people", "threshold: 2", "threshold: 4", "officers.threshold"},
		{"an officer twice", "name: bob", "name: alice", "there twice"},
		{"one key for two", r.vars["bob"], r.vars["alice"], "have the same key"},
		{"short digest", r.vars["bob"], "abcd", "not a SHA-256"},
		{"digest in upper case", r.vars["bob"], strings.ToUpper(r.vars["bob"]), "not a SHA-256"},
		{"no steps", good[strings.Index(good, "steps:"):], "steps: []\n", "steps: there are none"},
		{"two kinds in a step", "  - name: root\n", "  - name: root\n    destroy: {key: \"softkms:path=x\", sha256: " + r.vars["bob"] + ", confirm: destroy}\n", "exactly one of"},
		{"no kind", "  - name: root\n    root:", "  - name: empty\n  - name: root\n    root:", "exactly one of"},
		{"step name twice", "  - name: line3", "  - name: root", "the name of another step"},
		{"step named as an authority", "  - name: line3", "  - name: old-root", "the name of another step"},
		{"signed by nobody", "      by: root\n      request", "      by: boot\n      request", "no authority and no earlier step"},
		{"signed by a later step", "      by: root\n      request", "      by: new-with-old\n      request", "no authority and no earlier step"},
		{"signed by a key elsewhere", "by: old-root\n      of: root", "by: line3\n      of: root", "is not here"},
		{"authority without a key", "    key: softkms:path=keys/old.pem\nsteps", "steps", "is not here"},
		{"crosses itself", "by: old-root\n      of: root", "by: old-root\n      of: old-root", "certify itself"},
		{"crosses nobody", "of: old-root", "of: nobody", "no authority and no earlier step"},
		{"leaves the folder", "root.pem}", "../root.pem}", "not a file name"},
		{"absolute output", "root.pem}", "/root.pem}", "not a file name"},
		{"hidden output", "root.pem}", ".root.pem}", "not a file name"},
		{"no output", "{certificate: root.pem}", "{}", "not a file name"},
		{"output twice", "line3-chain.pem", "root.pem", "is written by step"},
		{"output twice on a stick", "line3-chain.pem", "ROOT.pem", "is written by step"},
		{"input above", "file: line3.csr", "file: ../line3.csr", "beside the ceremony file"},
		{"absolute input", "file: line3.csr", "file: /etc/passwd", "beside the ceremony file"},
		{"unclean input", "file: line3.csr", "file: a//line3.csr", "beside the ceremony file"},
		{"inputs that differ in case", "file: line3.csr", "file: ALICE.pub", "only in the case of letters"},
		{"PIN in a URI", "key: softkms:path=keys/root.pem", "key: \"pkcs11:token=x;object=y?pin-value=1234\"", "a PIN in a URI"},
		{"PIN in a URI, hidden", "key: softkms:path=keys/root.pem", "key: \"pkcs11:token=x;object=y?PIN%2dvalue=1234\"", "a PIN in a URI"},
		{"PIN file in a URI", "key: softkms:path=keys/root.pem", "key: \"pkcs11:token=x?pin-source=/pin\"", "a PIN in a URI"},
		{"no URI", "key: softkms:path=keys/root.pem", "key: keys/root.pem", "not the URI of a key"},
		{"key of two", "key: softkms:path=keys/root.pem", "key: softkms:path=keys/old.pem", "is the same as"},
		{"algorithm", "algorithm: P-384", "algorithm: RSA-1024", "unknown key algorithm"},
		{"algorithm spelt otherwise", "algorithm: P-384", "algorithm: p-384", "write P-384"},
		{"empty subject", "subject: {organization: Mint Works, common_name: Line 3}", "subject: {}", "is empty"},
		{"country", "subject: {organization: Mint Works, common_name: Line 3}", "subject: {country: Germany}", "two capital letters"},
		{"no beginning", "      from: 2026-12-01T09:00:00Z\n      until: 2046", "      until: 2046", "from: is missing"},
		{"no end", "      until: 2046-12-01T09:00:00Z\n", "", "until: is missing"},
		{"end before beginning", "until: 2046-12-01T09:00:00Z", "until: 2016-12-01T09:00:00Z", "is not after"},
		{"time of a zone", "until: 2046-12-01T09:00:00Z", "until: 2046-12-01T09:00:00+01:00", "write it in UTC"},
		{"day without a time", "until: 2046-12-01T09:00:00Z", "until: 2046-12-01", "write it in UTC"},
		{"part of a second", "until: 2046-12-01T09:00:00Z", "until: 2046-12-01T09:00:00.5Z", "write it in UTC"},
		{"no such day", "until: 2046-12-01T09:00:00Z", "until: 2046-02-30T09:00:00Z", "write it in UTC"},
		{"negative path length", "path_length: 0", "path_length: -1", "path_length"},
		{"range of addresses", "path_length: 0", "path_length: 0\n      permit: {ip: [10.0.0.1/8]}", "permit"},
		{"key identifier", "path_length: 0", "path_length: 0\n      key_id: xyz", "key_id"},
		{"CRL number", "number: 1", "number: 0", "not a positive number"},
		{"CRL without an end", "      next_update: 2027-12-01T09:00:00Z\n", "", "next_update: is missing"},
		{"serial", "serial: \"1234\"", "serial: \"0x1234\"", "not a serial number"},
		{"serial zero", "serial: \"1234\"", "serial: \"00\"", "not a serial number"},
		{"serial twice", "serial: \"1234\"", "serial: \"a5b\"", "there twice"},
		{"reason", "reason: keyCompromise", "reason: because", "no reason"},
		{"reason of a delta CRL", "reason: keyCompromise", "reason: removeFromCRL", "no reason"},
		{"revoked later", "revoked: 2026-11-30T00:00:00Z", "revoked: 2027-11-30T00:00:00Z", "after this_update"},
		{"not confirmed", "confirm: destroy", "confirm: yes please", "does not come back"},
		{"destroys too early", "steps:\n", "steps:\n" + strings.ReplaceAll(r.text(destroyStep), "farewell", "early"), "after everything else"},
		{"octal serial", "serial: 0a5b", "serial: 0123", "more than one way"},
		{"hexadecimal serial", "serial: 0a5b", "serial: 0x12", "more than one way"},
		{"serial with an underscore", "serial: 0a5b", "serial: 1_000", "more than one way"},
		{"octal number", "number: 5", "number: 010", "more than one way"},
		{"number with a fraction", "number: 5", "number: 5.5", "more than one way"},
		{"anchor", "purpose:", "purpose: &a", "anchor"},
		{"alias", "by: old-root", "by: *a", "anchor, alias"},
		{"tag", "name: root-2026", "name: !!str root-2026", "tag"},
		{"second document", "  - name: farewell", "---\n  - name: farewell", ""},
		{"end of a document", "authorities:", "...\nauthorities:", ""},
		{"invisible character", "Mint Works Root 2", "Mint\u200bWorks Root 2", "does not show"},
		{"right to left", "Mint Works Root 2", "Mint \u202eWorks Root 2", "does not show"},
		{"terminal escape", "The new root", "The new \x1b[2Kroot", "does not show"},
		{"carriage return in a line", "The new root", "The new\rroot", "does not show"},
		{"not UTF-8", "The new root", "The new \xff root", "not UTF-8"},
		{"escaped terminal escape", "purpose: The new root of the factory, and what leads to it.", `purpose: "a root\e[2J\e[8mhidden\e[0m\rSHA-256 of the ceremony file: 0000"`, "a backslash in double quotes"},
		{"escaped letter", "purpose:", `network: "al\x6cowed"` + "\npurpose:", "a backslash in double quotes"},
		{"escaped letter of a key", "purpose:", `"purp\u006fse":`, "a backslash in double quotes"},
		{"escaped quotation mark", "Mint Works Root 2", `"Mint \"Works\" Root 2"`, "a backslash in double quotes"},
		{"escaped end of a line", "Mint Works Root 2", "\"Mint\\\n        Works\"", "a backslash in double quotes"},
	} {
		if !strings.Contains(good, c.old) {
			t.Errorf("%s: the good file has no %q", c.name, c.old)
			continue
		}
		refuseParse(t, c.name, strings.Replace(good, c.old, c.new, 1), c.want)
	}
	refuseParse(t, "empty", "", "")
	refuseParse(t, "too large", good+strings.Repeat("#", maxFile), "larger than")
	refuseParse(t, "too many officers", strings.Replace(good, "  people:\n", "  people:\n"+strings.Repeat("    - {name: x, key: x.pub}\n", maxPeople), 1), "more than 16")
	refuseParse(t, "too many steps", good+strings.Repeat(r.text(destroyStep), maxSteps), "more than 64")
	refuseParse(t, "destroyed twice", good+strings.ReplaceAll(r.text(destroyStep), "farewell", "again"), "is the same as")
	refuseParse(t, "token without pkcs11", good+"tokens: [{name: a, uri: \"softkms:path=x\"}]\n", "pkcs11:")
	refuseParse(t, "token with a PIN", good+"tokens: [{name: a, uri: \"pkcs11:token=x?pin-value=1\"}]\n", "a PIN in a URI")
	for _, c := range []struct{ name, accept, want string }{
		{"token that gives its keys away", "[CKA_SENSITIVE]", `tokens[0].accept[0]: "CKA_SENSITIVE" is none of CKA_ALWAYS_SENSITIVE, `},
		{"token of keys that anybody uses", "[CKA_DECRYPT, CKA_PRIVATE]", `tokens[0].accept[1]: "CKA_PRIVATE" is none of`},
		{"attribute twice", "[CKA_LOCAL, CKA_LOCAL]", "tokens[0].accept[1]: \"CKA_LOCAL\" is there twice"},
	} {
		refuseParse(t, c.name, good+"tokens: [{name: a, uri: \"pkcs11:token=x\", accept: "+c.accept+"}]\n", c.want)
	}
	refuseParse(t, "token with two PINs", good+"tokens: [{name: a, uri: \"pkcs11:token=x\", pin: {file: x, pad: true}}]\n", "exclude each other")
}

func refuseParse(t *testing.T, name, text, want string) {
	t.Helper()
	f, err := Parse([]byte(text))
	switch {
	case err == nil:
		t.Errorf("%s: not refused", name)
	case f != nil:
		t.Errorf("%s: a file and an error", name)
	case !strings.Contains(err.Error(), want):
		t.Errorf("%s: refused with %q, not with %q", name, err, want)
	}
	if err != nil && strings.Contains(err.Error(), "1234") && strings.Contains(name, "PIN") {
		t.Errorf("%s: the error has the PIN: %v", name, err)
	}
}

// FuzzParse holds that what is read has a hash and names that stay in the folder.
func FuzzParse(f *testing.F) {
	r := newRoom(f)
	f.Add([]byte(r.text(everything)))
	f.Add([]byte(r.text(head + "steps:\n" + rootStep)))
	f.Add([]byte("ceremony: 1\nname: x\nsteps: [{name: a, root: {key: 'softkms:path=x'}}]"))
	f.Add([]byte("{ceremony: 1, steps: [{}]}"))
	f.Add(pkitest.PEM("X", []byte("x")))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse(data)
		if err != nil {
			if file != nil {
				t.Error("a file and an error")
			}
			return
		}
		if file.Hash() != hexHash(data) {
			t.Error("another hash than that of the bytes")
		}
		for i := range file.Steps {
			for _, name := range file.Steps[i].outputs() {
				if strings.ContainsAny(name, `/\`) || strings.HasPrefix(name, ".") {
					t.Errorf("output %q", name)
				}
			}
		}
	})
}
