package issuer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"mintmark/ca"
	"mintmark/ca/rotation"
	"mintmark/internal/access"
	"mintmark/internal/ledger"
)

// ceremonyFile writes what a rotation needs of keys that are elsewhere as a file of package
// ceremony, with every file that it names. People review it, and change the URIs of keys to
// where they are.
type ceremonyFile struct {
	ra     *RA
	r      ledger.Rotation
	spec   rotation.Spec
	from   time.Time
	inputs map[string][]byte

	taken       map[string]bool   // names of authorities and steps
	authorities map[string]string // what stands under authorities:, by the name of the authority
	order       []string
	steps       strings.Builder
	after       strings.Builder // comments on what to do with what it makes
}

func (ra *RA) newCeremony(r ledger.Rotation, spec rotation.Spec) *ceremonyFile {
	return &ceremonyFile{ra: ra, r: r, spec: spec, from: ra.Now().Add(-newBackdate).UTC().Truncate(time.Second),
		inputs: map[string][]byte{}, taken: map[string]bool{}, authorities: map[string]string{}}
}

// quoted is a scalar of YAML that means nothing but its text.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

func quotedList(texts []string) string {
	list := make([]string, len(texts))
	for i, t := range texts {
		list[i] = quoted(t)
	}
	return "[" + strings.Join(list, ", ") + "]"
}

func timeOf(t time.Time) string { return t.UTC().Truncate(time.Second).Format("2006-01-02T15:04:05Z") }

// input adds a file beside the ceremony file, and writes its name and hash.
func (c *ceremonyFile) input(name string, data []byte) string {
	c.inputs[name] = data
	sum := sha256.Sum256(data)
	return fmt.Sprintf("{file: %s, sha256: %s}", quoted(name), quoted(hex.EncodeToString(sum[:])))
}

// name takes a name that no other step or authority has.
func (c *ceremonyFile) name(base string) string {
	name := base
	for i := 2; c.taken[name]; i++ {
		name = fmt.Sprintf("%.28s-%d", base, i)
	}
	c.taken[name] = true
	return name
}

// authority adds one that exists; key is whether a step signs with it.
func (c *ceremonyFile) authority(a *ca.Authority, key bool) {
	if _, ok := c.authorities[a.Name()]; !ok {
		c.order = append(c.order, a.Name())
		c.taken[a.Name()] = true
	} else if !key {
		return
	}
	var text []byte
	for _, one := range append([]*x509.Certificate{a.Certificate()}, a.Chain()...) {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: one.Raw})...)
	}
	entry := fmt.Sprintf("  - name: %s\n    certificates: %s\n", quoted(a.Name()), c.input(a.Name()+".pem", text))
	if key {
		entry += fmt.Sprintf("    key: %s # change it to where the key is\n", quoted("softkms:path=keys/"+a.Name()+".pem"))
	}
	c.authorities[a.Name()] = entry
}

// ceremonyWords are the attributes of a subject that a ceremony file has words for.
var ceremonyWords = map[string]string{
	"2.5.4.3": "common_name", "2.5.4.10": "organization", "2.5.4.11": "organizational_unit", "2.5.4.6": "country",
	"2.5.4.8": "province", "2.5.4.7": "locality", "2.5.4.5": "serial_number",
}

// ceremonySubject writes a name. What a ceremony file has no word for is an error.
func ceremonySubject(name pkix.Name) (string, error) {
	attributes := name.Names
	if len(attributes) == 0 {
		attributes = name.ExtraNames
	}
	var list []string
	seen := map[string]bool{"": true}
	for _, a := range attributes {
		word := ceremonyWords[a.Type.String()]
		text, ok := a.Value.(string)
		if !ok || seen[word] {
			return "", against("rotation-ceremony", "the subject of the old CA has the attribute %s, for which a ceremony file has no word, or has it twice: make the new CA with a ceremony file of your own, and bring it", a.Type)
		}
		if strings.ContainsFunc(text, func(r rune) bool { return r == utf8.RuneError || r != ' ' && !unicode.IsPrint(r) }) || strings.TrimSpace(text) != text {
			return "", against("rotation-ceremony", "the %s of the old CA has something in it that does not show: make the new CA with a ceremony file of your own, and bring it", word)
		}
		seen[word] = true
		list = append(list, word+": "+quoted(text))
	}
	return "{" + strings.Join(list, ", ") + "}", nil
}

// sameEncoding reports whether a name has these bytes when a ceremony encodes it, which is in an
// order and with types of strings of its own.
func sameEncoding(name pkix.Name, raw []byte) bool {
	name.Names, name.ExtraNames = nil, nil
	der, err := asn1.Marshal(name.ToRDNSequence())
	return err == nil && bytes.Equal(der, raw)
}

func ceremonyNames(key string, n ca.NameConstraints) string {
	if len(n.DNS)+len(n.IP)+len(n.Email)+len(n.URI) == 0 {
		return ""
	}
	return fmt.Sprintf("      %s: {dns: %s, ip: %s, email: %s, uri: %s}\n", key, quotedList(n.DNS), quotedList(networks(n.IP)), quotedList(n.Email), quotedList(n.URI))
}

func networks(list []*net.IPNet) (texts []string) {
	for _, n := range list {
		texts = append(texts, n.String())
	}
	return texts
}

// sameAttributes reports whether two names have the same attributes, in any order and any
// type of string.
func sameAttributes(a, b pkix.Name) bool {
	list := func(n pkix.Name) (texts []string) {
		for _, t := range n.Names {
			texts = append(texts, fmt.Sprintf("%s=%v", t.Type, t.Value))
		}
		slices.Sort(texts)
		return texts
	}
	return slices.Equal(list(a), list(b))
}

// ca writes what root and issuing steps have in common, but for outputs.
func (c *ceremonyFile) ca(s AuthoritySpec, subject string) {
	fmt.Fprintf(&c.steps, "      algorithm: %s\n      subject: %s\n      from: %s\n      until: %s\n", s.Key, subject, timeOf(c.from), timeOf(s.NotAfter))
	if s.PathLen != nil {
		fmt.Fprintf(&c.steps, "      path_length: %d\n", *s.PathLen)
	}
	c.steps.WriteString(ceremonyNames("permit", s.Permitted) + ceremonyNames("exclude", s.Excluded))
}

// urls writes those of certificates by an authority.
func (c *ceremonyFile) urls(by string) {
	if c.ra.PublicURL != "" {
		fmt.Fprintf(&c.steps, "      crl: %s\n      ca_issuers: %s\n", quotedList([]string{c.ra.PublicURL + "/crl/" + by + ".crl"}), quotedList([]string{c.ra.PublicURL + "/ca/" + by + ".crt"}))
	}
}

// side is one of the two CAs of a cross step, which an earlier step may make.
type side struct {
	name        string
	from, until time.Time
	room        int // path length, if limited
	limited     bool
	rawSubject  []byte // nil if it is not known yet
}

func sideOf(a *ca.Authority) side {
	own := a.Certificate()
	room, limited := pathLen(own)
	return side{a.Name(), own.NotBefore, own.NotAfter, room, limited, own.RawSubject}
}

// cross writes the step that certifies the key of one by another.
func (c *ceremonyFile) cross(base string, by, of side, need int) error {
	from, until := c.from, of.until
	for _, t := range []time.Time{by.from, of.from} {
		if t.After(from) {
			from = t
		}
	}
	if by.until.Before(until) {
		until = by.until
	}
	name := c.name(base)
	fmt.Fprintf(&c.steps, "  - name: %s\n    cross:\n      by: %s\n      of: %s\n      from: %s\n      until: %s\n", quoted(name), quoted(by.name), quoted(of.name), timeOf(from), timeOf(until))
	if by.limited {
		room := by.room
		if by.rawSubject == nil || of.rawSubject == nil || !slices.Equal(by.rawSubject, of.rawSubject) {
			room-- // a step of the path
		}
		if room < need {
			return against("rotation-ceremony", "%q allows a path length of %d, and what is below %q needs %d under it", by.name, by.room, of.name, need+by.room-room)
		}
		if !of.limited || of.room > room {
			fmt.Fprintf(&c.steps, "      path_length: %d\n", room)
		}
	}
	c.urls(by.name)
	fmt.Fprintf(&c.steps, "      outputs: {certificate: %s, chain: %s}\n", quoted(name+".pem"), quoted(name+"-chain.pem"))
	return nil
}

// firstCRLLife is how long the first CRL of a root of a ceremony is good: until people meet again.
const firstCRLLife = 365 * day

// firstCRL writes the step that signs the first CRL of a root that this ceremony makes. What
// the root certifies names it, and is refused by whoever checks and finds none. Its PEM is no
// .pem, as all of these are brought as certificates.
func (c *ceremonyFile) firstCRL(by string) {
	name := c.name("crl-of-" + by)
	fmt.Fprintf(&c.steps, "  - name: %s\n    crl:\n      by: %s\n      number: 1\n      this_update: %s\n      next_update: %s # the next one is due before that\n      outputs: {pem: %s, der: %s}\n",
		quoted(name), quoted(by), timeOf(c.from), timeOf(c.from.Add(firstCRLLife)), quoted(by+".crl.txt"), quoted(by+".crl"))
	fmt.Fprintf(&c.after, "# mintmark ca crl %s --import %s.crl brings its CRL afterwards.\n", by, by)
}

// waiting puts the file together.
func (c *ceremonyFile) waiting(ctx context.Context, what string) error {
	people, err := c.ra.Ledger.Principals(ctx)
	if err != nil {
		return fmt.Errorf("looking up officers: %w", err)
	}
	var b strings.Builder
	name := strings.Trim(fmt.Sprintf("%.24s", "rotate-"+c.r.Old), "-")
	fmt.Fprintf(&b, `# %s
#
# For rotation %s from %s to %s. Review it, put right where the keys are, and
# leave out officers who will not be there. The files that it names are beside it.
# mintmark ceremony check says whether it can be held. What it makes comes back
# with mintmark rotate bring.
%sceremony: 1
name: %s
purpose: %s
`, what, c.r.ID, c.r.Old, c.r.New, c.after.String(), quoted(name), quoted("Rotation "+c.r.ID+": "+what))
	var officers []string
	for _, p := range access.Officers(people) {
		if len(p.Key) == 0 || len(officers) == 16 || !validName.MatchString(p.Name) {
			continue
		}
		file := p.Name + ".pub"
		c.inputs[file] = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: p.Key})
		sum := sha256.Sum256(p.Key)
		officers = append(officers, fmt.Sprintf("    - {name: %s, key: %s, sha256: %s}\n", quoted(p.Name), quoted(file), quoted(hex.EncodeToString(sum[:]))))
	}
	if len(officers) == 0 {
		return against("rotation-officers", "no officer has a key, and a ceremony needs their signatures: mintmark officer add")
	}
	threshold := min(max(c.spec.Gates.Officers, 1), len(officers))
	fmt.Fprintf(&b, "officers:\n  threshold: %s\n  people:\n%s", strconv.Itoa(threshold), strings.Join(officers, ""))
	if len(c.order) > 0 {
		b.WriteString("authorities:\n")
		for _, name := range c.order {
			b.WriteString(c.authorities[name])
		}
	}
	b.WriteString("steps:\n" + c.steps.String())
	return &rotation.Waiting{What: what, Name: name + ".yaml", Ceremony: []byte(b.String()), Inputs: c.inputs}
}
