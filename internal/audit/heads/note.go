// Package heads signs the head of an issuance log at intervals and takes it off
// the host, so that a log that was cut short or written anew shows.
//
// A head is a signed note (C2SP signed-note) of Ed25519 over the position of a
// head record in the log. Log and heads name each other: every head record has
// its note, every note its record. A note follows from the log and the key
// alone, so that one that a crash kept from being written is made again with
// the same bytes. The key signs nothing else.
package heads

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"mintmark/internal/audit"
)

// title is the first line of every note and says what the rest means.
const title = "mintmark issuance log head v1"

// maxNote bounds what is read as a note.
const maxNote = 4 << 10

// suffix ends the name of every head.
const suffix = ".head"

// FileName is the name of a head in every place that keeps it. Names sort in
// the order of their sequence.
func FileName(server string, sequence int64) string {
	return fmt.Sprintf("%s-%016d%s", server, sequence, suffix)
}

// parseName reads a file name; ok is false for one that is not a head's.
func parseName(name string) (server string, sequence int64, ok bool) {
	stem, ok := strings.CutSuffix(name, suffix)
	i := strings.LastIndexByte(stem, '-')
	if !ok || i < 1 {
		return "", 0, false
	}
	sequence, err := strconv.ParseInt(stem[i+1:], 10, 64)
	if err != nil || sequence < 1 || FileName(stem[:i], sequence) != name {
		return "", 0, false
	}
	return stem[:i], sequence, true
}

// text is what is signed.
func text(r audit.HeadRecord) string {
	return fmt.Sprintf("%s\nserver %s\nsequence %d\nbatch %d\nhash %x\ntime %s\n",
		title, r.Server, r.Sequence, r.Position.Batch, r.Position.Hash, r.At.UTC().Format(time.RFC3339Nano))
}

// parseText accepts only what text writes.
func parseText(s string) (audit.HeadRecord, error) {
	var r audit.HeadRecord
	lines := strings.Split(s, "\n")
	if len(lines) != 7 || lines[0] != title {
		return r, fmt.Errorf("not a head of an issuance log: it does not begin with %q", title)
	}
	values := make([]string, 5)
	for i, name := range []string{"server ", "sequence ", "batch ", "hash ", "time "} {
		value, ok := strings.CutPrefix(lines[i+1], name)
		if !ok {
			return r, fmt.Errorf("line %d of the head does not begin with %q", i+2, name)
		}
		values[i] = value
	}
	r.Server = values[0]
	var errs [4]error
	var hash []byte
	r.Sequence, errs[0] = strconv.ParseInt(values[1], 10, 64)
	r.Position.Batch, errs[1] = strconv.ParseInt(values[2], 10, 64)
	hash, errs[2] = hex.DecodeString(values[3])
	copy(r.Position.Hash[:], hash)
	r.At, errs[3] = time.Parse(time.RFC3339Nano, values[4])
	if err := errors.Join(errs[:]...); err != nil {
		return audit.HeadRecord{}, fmt.Errorf("parsing head: %w", err)
	}
	r.At = r.At.UTC()
	if r.Server == "" || r.Sequence < 1 || r.Position.Batch < 1 || text(r) != s {
		return audit.HeadRecord{}, errors.New("head is not written in the one way that it can be")
	}
	return r, nil
}

// Sign makes the note of a head record. It gives the same bytes every time.
func Sign(r audit.HeadRecord, key *Key) ([]byte, error) {
	if key.signer.Name() != keyName(r.Server) {
		return nil, fmt.Errorf("signing a head of server %q: the audit key is %s", r.Server, key.signer.Name())
	}
	signed, err := note.Sign(&note.Note{Text: text(r)}, key.signer)
	if err != nil {
		return nil, fmt.Errorf("signing a head: %w", err)
	}
	return signed, nil
}

// Open verifies a note by one of the keys and reads it. It accepts only the
// bytes that Sign writes: one signature, by the key of the server that the note
// names.
func Open(signed []byte, keys note.Verifiers) (audit.HeadRecord, error) {
	if len(signed) > maxNote {
		return audit.HeadRecord{}, fmt.Errorf("verifying head: it has more than %d bytes", maxNote)
	}
	n, err := note.Open(signed, keys)
	var unknown *note.UnverifiedNoteError
	if errors.As(err, &unknown) {
		return audit.HeadRecord{}, errors.New("verifying head: none of the given keys has signed it")
	}
	if err != nil {
		return audit.HeadRecord{}, fmt.Errorf("verifying head: %w", err)
	}
	r, err := parseText(n.Text)
	if err != nil {
		return audit.HeadRecord{}, err
	}
	switch {
	case len(n.Sigs) != 1 || len(n.UnverifiedSigs) != 0:
		return audit.HeadRecord{}, errors.New("verifying head: it has more than one signature")
	case n.Sigs[0].Name != keyName(r.Server):
		return audit.HeadRecord{}, fmt.Errorf("verifying head: it is of server %q and signed by the key %s", r.Server, n.Sigs[0].Name)
	}
	signature, err := base64.StdEncoding.DecodeString(n.Sigs[0].Base64)
	if err != nil || string(signed) != n.Text+"\n— "+n.Sigs[0].Name+" "+base64.StdEncoding.EncodeToString(signature)+"\n" {
		return audit.HeadRecord{}, errors.New("verifying head: its signature is not written in the one way that it can be")
	}
	return r, nil
}

// SignedBy is the name and hash of the key that a note says it is signed by, in
// the form in which a verifier key begins. It verifies nothing and is for
// messages.
func SignedBy(signed []byte) string {
	i := strings.LastIndex(string(signed), "\n— ")
	if i < 0 {
		return "nobody"
	}
	name, rest, _ := strings.Cut(strings.TrimSpace(string(signed[i+len("\n— "):])), " ")
	raw, err := base64.StdEncoding.DecodeString(rest)
	if err != nil || len(raw) < 4 {
		return "nobody"
	}
	return fmt.Sprintf("%s+%08x", name, binary.BigEndian.Uint32(raw))
}
