package ceremony

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// maxFile bounds a ceremony file: people read it to the end.
const maxFile = 256 << 10

// File is a ceremony as it was reviewed. Comments on the fields are the reference
// of the format. Times are written as 2026-12-01T09:00:00Z, hashes as sha256sum
// prints them.
type File struct {
	// Ceremony is the version of the format: 1.
	Ceremony int `yaml:"ceremony"`
	// Name is that of the ceremony, Purpose says in words why it is held.
	Name    string `yaml:"name"`
	Purpose string `yaml:"purpose"`
	// Network is none (the default) or allowed.
	Network string `yaml:"network"`

	Officers Officers `yaml:"officers"`
	// Tokens are the PKCS#11 tokens that keys may be in, for who opens the key store.
	Tokens []Token `yaml:"tokens"`
	// Authorities are those that exist before the ceremony.
	Authorities []Authority `yaml:"authorities"`
	// Steps are carried out in their order.
	Steps []Step `yaml:"steps"`

	raw []byte
}

// Officers are the people of whom Threshold must be present and sign.
type Officers struct {
	Threshold int       `yaml:"threshold"`
	People    []Officer `yaml:"people"`
}

// Officer is a person with a public key (ECDSA, Ed25519, RSA): a PEM file beside the
// ceremony file, and the SHA-256 of its SubjectPublicKeyInfo.
type Officer struct {
	Name   string `yaml:"name"`
	Key    string `yaml:"key"`
	SHA256 string `yaml:"sha256"`
}

// Token is a PKCS#11 token, written as in keys.tokens of the server's configuration.
// Without pin somebody present types it.
type Token struct {
	Name      string        `yaml:"name"`
	URI       string        `yaml:"uri"`
	PIN       PIN           `yaml:"pin"`
	Spare     *SpareToken   `yaml:"spare"`
	Sessions  int           `yaml:"sessions"`
	Attempt   time.Duration `yaml:"attempt"`
	Deadline  time.Duration `yaml:"deadline"`
	KeepAlive time.Duration `yaml:"keep_alive"`
	Accept    []string      `yaml:"accept"`
}

// SpareToken is a token that holds the same keys.
type SpareToken struct {
	URI string `yaml:"uri"`
	PIN PIN    `yaml:"pin"`
}

// PIN says where the PIN of a token comes from: one of them at most.
type PIN struct {
	File       string `yaml:"file"`
	Credential string `yaml:"credential"`
	Operators  int    `yaml:"operators"`
	Pad        bool   `yaml:"pad"`
}

// Input is a file beside the ceremony file, and the SHA-256 of its bytes.
type Input struct {
	File   string `yaml:"file"`
	SHA256 string `yaml:"sha256"`
}

// Authority is a CA that steps refer to by name.
type Authority struct {
	Name string `yaml:"name"`
	// Certificates is its certificate and every one above it, in PEM.
	Certificates Input `yaml:"certificates"`
	// Key is the URI of its key, where a step uses it; else empty.
	Key string `yaml:"key"`
}

// Step is one thing that is done: exactly one of its kinds is given.
type Step struct {
	Name    string   `yaml:"name"`
	Root    *Root    `yaml:"root"`
	Issuing *Issuing `yaml:"issuing"`
	Cross   *Cross   `yaml:"cross"`
	CRL     *CRL     `yaml:"crl"`
	Destroy *Destroy `yaml:"destroy"`
}

// Root makes a key and a self-signed certificate for it.
type Root struct {
	Key        string    `yaml:"key"`       // URI at which it is made
	Algorithm  string    `yaml:"algorithm"` // P-256, P-384, P-521, RSA-2048, RSA-3072, RSA-4096
	Subject    Subject   `yaml:"subject"`
	From       time.Time `yaml:"from"`
	Until      time.Time `yaml:"until"`
	PathLength *int      `yaml:"path_length"` // left out: no limit
	Permit     Names     `yaml:"permit"`
	Exclude    Names     `yaml:"exclude"`
	Outputs    struct {
		Certificate string `yaml:"certificate"`
	} `yaml:"outputs"`
}

// Issuing certifies the key of a certification request as that of a CA.
type Issuing struct {
	By      string `yaml:"by"` // a step that made a root, or an authority
	Request Input  `yaml:"request"`
	// Subject, Algorithm and KeyID are those of the request, and refuse another one.
	// KeyID is the subject key identifier; left out, it is computed from the key.
	Subject    Subject   `yaml:"subject"`
	Algorithm  string    `yaml:"algorithm"`
	KeyID      string    `yaml:"key_id"`
	From       time.Time `yaml:"from"`
	Until      time.Time `yaml:"until"`
	PathLength *int      `yaml:"path_length"`
	Permit     Names     `yaml:"permit"`
	Exclude    Names     `yaml:"exclude"`
	URLs       `yaml:",inline"`
	Outputs    ChainOutputs `yaml:"outputs"`
}

// Cross certifies the key of another CA: with its subject, key identifier, key usage
// and constraints, so that what is below it stands under both.
type Cross struct {
	By    string    `yaml:"by"` // a step that made a root, or an authority
	Of    string    `yaml:"of"` // a step or an authority
	From  time.Time `yaml:"from"`
	Until time.Time `yaml:"until"`
	// PathLength narrows that of the CA; left out, it is copied.
	PathLength *int `yaml:"path_length"`
	URLs       `yaml:",inline"`
	Outputs    ChainOutputs `yaml:"outputs"`
}

// CRL signs a certificate revocation list.
type CRL struct {
	By         string    `yaml:"by"`
	Number     int64     `yaml:"number"`
	ThisUpdate time.Time `yaml:"this_update"`
	NextUpdate time.Time `yaml:"next_update"`
	// Previous is the last CRL, whose entries must all be there again; left out for
	// the first.
	Previous *Input     `yaml:"previous"`
	Entries  []CRLEntry `yaml:"entries"`
	Outputs  struct {
		PEM string `yaml:"pem"`
		DER string `yaml:"der"`
	} `yaml:"outputs"`
}

// CRLEntry is a revoked certificate.
type CRLEntry struct {
	Serial  string    `yaml:"serial"` // hexadecimal
	Revoked time.Time `yaml:"revoked"`
	Reason  string    `yaml:"reason"` // as in RFC 5280 and OpenSSL: keyCompromise; left out: unspecified
}

// Destroy destroys a key.
type Destroy struct {
	Key     string `yaml:"key"`
	SHA256  string `yaml:"sha256"`  // of its SubjectPublicKeyInfo
	Confirm string `yaml:"confirm"` // destroy
}

// Subject is the name of a CA.
type Subject struct {
	CommonName         string `yaml:"common_name"`
	Organization       string `yaml:"organization"`
	OrganizationalUnit string `yaml:"organizational_unit"`
	Country            string `yaml:"country"`
	Province           string `yaml:"province"`
	Locality           string `yaml:"locality"`
	SerialNumber       string `yaml:"serial_number"`
}

// Names are name constraints (RFC 5280, Section 4.2.1.10).
type Names struct {
	DNS   []string `yaml:"dns"`
	IP    []string `yaml:"ip"` // 10.0.0.0/8
	Email []string `yaml:"email"`
	URI   []string `yaml:"uri"`
}

// URLs in a certificate are those of its issuer.
type URLs struct {
	CRL       []string `yaml:"crl"`
	CAIssuers []string `yaml:"ca_issuers"`
	OCSP      []string `yaml:"ocsp"`
}

// ChainOutputs are the certificate alone, and with those above it up to the root.
type ChainOutputs struct {
	Certificate string `yaml:"certificate"`
	Chain       string `yaml:"chain"`
}

// Parse reads a ceremony file (YAML, strict): an unknown key is an error. So is what
// lets a file do something else than its reader sees: anchors and aliases, tags, a
// second document, characters that do not show, escapes.
func Parse(data []byte) (*File, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("the ceremony file is larger than %d bytes", maxFile)
	}
	if err := checkText(data); err != nil {
		return nil, err
	}
	f := &File{Network: "none", raw: bytes.Clone(data)}
	decoder := yaml.NewDecoder(bytes.NewReader(data), yaml.Strict(), yaml.DisallowUnknownField(), yaml.CustomUnmarshaler(parseTime))
	if err := decoder.Decode(f); err != nil {
		return nil, fmt.Errorf("reading the ceremony file:\n%s", yaml.FormatError(err, false, true))
	}
	if err := decoder.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("the ceremony file holds more than one document")
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	return f, nil
}

// parseTime reads the one form of a time that a ceremony file has.
func parseTime(t *time.Time, text []byte) error {
	s := strings.Trim(strings.TrimSpace(string(text)), `"'`)
	parsed, err := time.Parse("2006-01-02T15:04:05Z", s)
	if err != nil || parsed.Format("2006-01-02T15:04:05Z") != s {
		return fmt.Errorf("time %q: write it in UTC and whole seconds, as in 2026-12-01T09:00:00Z", s)
	}
	*t = parsed
	return nil
}

var decimal = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,17})$`)

// checkText refuses what does not show to a reader of the file.
func checkText(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("the ceremony file is not UTF-8")
	}
	for i, line := range strings.Split(string(data), "\n") {
		for _, r := range line {
			if r != ' ' && !unicode.IsPrint(r) {
				return fmt.Errorf("line %d of the ceremony file has the character %U, which does not show: only printable characters, spaces and line feeds may stand there", i+1, r)
			}
		}
	}
	for _, t := range lexer.Tokenize(string(data)) {
		switch t.Type {
		case token.AnchorType, token.AliasType, token.MergeKeyType, token.TagType, token.DirectiveType:
			return fmt.Errorf("line %d of the ceremony file has an anchor, alias, tag or directive (%q): write in place what is meant", t.Position.Line, t.Value)
		// 010 is eight in YAML, and 0123 no serial number any more.
		case token.FloatType, token.BinaryIntegerType, token.OctetIntegerType, token.HexIntegerType, token.InfinityType, token.NanType:
			return ambiguous(t)
		case token.IntegerType:
			if !decimal.MatchString(t.Value) {
				return ambiguous(t)
			}
		// "\x6e\x6f" is no, and "\e[2J" clears the screen that it is shown on.
		case token.DoubleQuoteType:
			if strings.Contains(t.Origin, `\`) {
				return fmt.Errorf("line %d of the ceremony file has a backslash in double quotes, behind which another character is hidden: write the character itself, in single quotes where the text has a backslash or quotation marks", t.Position.Line)
			}
		case token.DocumentEndType:
			return errors.New("the ceremony file holds the end of a document: all of the file is one")
		}
	}
	return nil
}

func ambiguous(t *token.Token) error {
	return fmt.Errorf("line %d of the ceremony file has the number %s, which can be read in more than one way: put it in quotes if it is a serial number, else write it in plain decimal", t.Position.Line, t.Value)
}

// Bytes returns the file as it was given to Parse. They must not be modified.
func (f *File) Bytes() []byte { return f.raw }

// Hash is the SHA-256 of the file's bytes, in hexadecimal.
func (f *File) Hash() string { return hexHash(f.raw) }

func hexHash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Groups writes a hash in groups of four digits, eight groups a line, for people who
// read it aloud, compare or type it.
func Groups(hash string) string {
	var b strings.Builder
	for i := 0; i < len(hash); i += 4 {
		switch {
		case i == 0:
		case i%32 == 0:
			b.WriteByte('\n')
		default:
			b.WriteByte(' ')
		}
		b.WriteString(hash[i:min(i+4, len(hash))])
	}
	return b.String()
}

// typed takes the groups out of a hash that somebody has typed.
func typed(hash string) string {
	return strings.ToLower(strings.Join(strings.Fields(hash), ""))
}
