package keystore

import (
	"bytes"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

const sealedType = "ENCRYPTED PRIVATE KEY"

// maxRounds bounds the work that a backup can ask for; ours have 600,000.
const maxRounds = 2_000_000

// ReadBackup reads the backup in the file path. It decrypts nothing: see Backup.Open.
func ReadBackup(path string) (*Backup, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxBackup+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	b, err := parseBackup(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return b, nil
}

// parseBackup takes exactly what encode writes.
func parseBackup(data []byte) (*Backup, error) {
	if len(data) > maxBackup {
		return nil, fmt.Errorf("this is longer than %d bytes, as no key backup is", maxBackup)
	}
	if !bytes.HasPrefix(data, []byte(backupTitle+"\n")) {
		return nil, fmt.Errorf("this is no key backup: its first line is not %q", backupTitle)
	}
	body, end, ok := cutEnd(data)
	if !ok {
		return nil, errors.New("the end is missing: the backup was cut short")
	}
	if hash := sha256.Sum256(body); end != hex.EncodeToString(hash[:]) {
		return nil, errors.New("the backup is damaged: its SHA-256 is another than its last line says")
	}
	lines := &backupLines{rest: body[len(backupTitle)+1:]}
	b, err := lines.backup()
	if err != nil {
		return nil, fmt.Errorf("the backup cannot be read: %w", err)
	}
	// One way to write each backup: nothing hides between the lines.
	if !bytes.Equal(b.encode(), data) {
		return nil, errors.New("the backup cannot be read: it is not written as mintmark writes it")
	}
	return b, nil
}

// cutEnd takes the last line apart.
func cutEnd(data []byte) (body []byte, hash string, ok bool) {
	if !bytes.HasSuffix(data, []byte("\n")) {
		return nil, "", false
	}
	at := bytes.LastIndexByte(data[:len(data)-1], '\n') + 1
	hash, ok = strings.CutPrefix(string(data[at:len(data)-1]), backupEnd)
	return data[:at], hash, ok
}

// backupLines reads the text of a backup from its second line on.
type backupLines struct{ rest []byte }

func (l *backupLines) backup() (*Backup, error) {
	made, err := l.field("made")
	if err != nil {
		return nil, err
	}
	b := &Backup{}
	if b.Made, err = time.Parse(time.RFC3339, made); err != nil {
		return nil, errors.New("made is no time")
	}
	text, err := l.field("keys")
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxSavedKeys {
		return nil, fmt.Errorf("keys is no number from 1 to %d", maxSavedKeys)
	}
	seen := make(map[string]bool)
	for range n {
		k, err := l.key()
		if err != nil {
			return nil, err
		}
		if seen[k.File] {
			return nil, fmt.Errorf("%q is there twice", k.File)
		}
		seen[k.File] = true
		b.Keys = append(b.Keys, k)
	}
	return b, nil
}

func (l *backupLines) key() (*SavedKey, error) {
	if line, err := l.line(); err != nil || line != "" {
		return nil, errors.New("there is no empty line before a key")
	}
	var k SavedKey
	var err error
	if k.File, err = l.field("file"); err != nil {
		return nil, err
	}
	if !validSavedFile(k.File) {
		return nil, fmt.Errorf("the file name %q is not one of a key", k.File)
	}
	spki, err := l.field("spki-sha256")
	if err != nil {
		return nil, err
	}
	if n, err := hex.Decode(k.SPKI[:], []byte(spki[:min(len(spki), 2*len(k.SPKI))])); err != nil || n != len(k.SPKI) {
		return nil, errors.New("spki-sha256 is no SHA-256")
	}
	if k.Algorithm, err = l.field("algorithm"); err != nil {
		return nil, err
	}
	if k.File == headsKey {
		if k.Name, err = l.field("name"); err != nil {
			return nil, err
		}
		if !validNoteName(k.Name) {
			return nil, fmt.Errorf("%q cannot sign heads", k.Name)
		}
	}
	block, rest := pem.Decode(l.rest)
	if block == nil || block.Type != sealedType || len(block.Bytes) > maxKeyFile {
		return nil, fmt.Errorf("%q is not followed by an encrypted private key", k.File)
	}
	l.rest, k.sealed = rest, block.Bytes
	if err := checkSealed(k.sealed); err != nil {
		return nil, fmt.Errorf("%q: %w", k.File, err)
	}
	return &k, nil
}

func (l *backupLines) line() (string, error) {
	line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
	if !ok || len(line) > 512 {
		return "", errors.New("a line is missing or too long")
	}
	l.rest = rest
	return string(line), nil
}

func (l *backupLines) field(name string) (string, error) {
	line, err := l.line()
	if err != nil {
		return "", err
	}
	value, ok := strings.CutPrefix(line, name+" ")
	if !ok || value == "" {
		return "", fmt.Errorf("the line with %s is missing", name)
	}
	return value, nil
}

// validSavedFile takes names in keys/ of plain characters, with no part that begins
// with a dot, and the key that signs heads.
func validSavedFile(name string) bool {
	if name == headsKey {
		return true
	}
	if len(name) > 200 || path.Clean(name) != name || !strings.HasPrefix(name, keysDir+"/") {
		return false
	}
	for part := range strings.SplitSeq(name, "/") {
		if strings.HasPrefix(part, ".") {
			return false
		}
		for _, r := range part {
			if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-+@=, ", r) {
				return false
			}
		}
	}
	return true
}

// checkSealed refuses what seal does not write, before any work goes into it: another
// cipher or hash, and more rounds than take a few seconds (RFC 8018, Appendix A).
func checkSealed(der []byte) error {
	var sealed sealedKey
	rest, err := asn1.Unmarshal(der, &sealed)
	if err != nil || len(rest) > 0 {
		return errors.New("this is no encrypted private key (RFC 5958)")
	}
	p := sealed.Algorithm.Parameters
	switch {
	case !sealed.Algorithm.OID.Equal(oidPBES2), !p.KDF.OID.Equal(oidPBKDF2), !p.KDF.PBKDF2.PRF.Algorithm.Equal(oidHMACSHA256), !p.Cipher.OID.Equal(oidAES256CBC):
		return errors.New("this is not encrypted with PBES2, PBKDF2 with HMAC-SHA-256, and AES-256-CBC")
	case p.KDF.PBKDF2.Rounds < 1 || p.KDF.PBKDF2.Rounds > maxRounds:
		return fmt.Errorf("%d rounds of PBKDF2 are not between 1 and %d", p.KDF.PBKDF2.Rounds, maxRounds)
	case len(p.Cipher.IV) != 16 || len(sealed.Data) == 0 || len(sealed.Data)%16 != 0:
		return errors.New("this is not encrypted with AES-CBC")
	}
	return nil
}
