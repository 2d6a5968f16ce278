package ceremony

import (
	"bytes"
	"testing"

	"mintmark/internal/pkitest"
)

// FuzzRecords reads the records of a folder: what is accepted is spelt in the one way
// in which it is written.
func FuzzRecords(f *testing.F) {
	_, files := newRoom(f).held(f)
	file, err := Parse(files[fileYAML])
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{fileTranscript, fileSignatures, fileStatementS, fileJournal} {
		f.Add(files[name])
	}
	f.Add([]byte("{}\n"))
	f.Add([]byte("{\n  \"signatures\": null\n}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var transcript Transcript
		if decode(data, &transcript) == nil {
			if again, err := encode(&transcript); err != nil || !bytes.Equal(again, data) {
				t.Errorf("a transcript was read and is written otherwise: %v\n%s", err, again)
			}
		}
		present := []Present{{Name: "alice", Key: "00"}}
		if err := verifySignatures(data, nil, present, map[string]officerKey{}); err == nil {
			t.Error("signatures of nobody were verified")
		}
		entries, err := readJournal(data, file.Hash())
		if err == nil && len(entries) != bytes.Count(data, []byte("\n")) {
			t.Errorf("%d entries in %d lines", len(entries), bytes.Count(data, []byte("\n")))
		}
	})
}

// FuzzInputs reads files that come from elsewhere.
func FuzzInputs(f *testing.F) {
	r := newRoom(f)
	for _, name := range []string{"line3.csr", "old.crl", "old-root.pem", "alice.pub"} {
		data := pkitest.ReadFile(f, r.dir+"/"+name)
		f.Add(data)
		if blocks, err := pemBlocks(data, "CERTIFICATE REQUEST"); err == nil {
			f.Add(blocks[0])
		}
	}
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if request, err := parseRequest(data); (request == nil) == (err == nil) {
			t.Error("a request and an error, or neither")
		}
		if l, err := parseCRL(data); (l == nil) == (err == nil) {
			t.Error("a CRL and an error, or neither")
		}
		if list, err := parseCertificates(data); (len(list) == 0) == (err == nil) {
			t.Error("certificates and an error, or neither")
		}
		m := &material{officers: map[string]officerKey{}}
		if err := m.officer(Officer{Name: "x", SHA256: hexHash(nil)}, data); err == nil {
			t.Error("a key of another digest was taken")
		}
	})
}
