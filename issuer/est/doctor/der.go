package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// element is one element of DER.
type element struct {
	tag     byte // identifier octet; tags above 30 do not occur in what is read
	raw     []byte
	content []byte
}

// Identifier octets.
const (
	tagBoolean   = 0x01
	tagInteger   = 0x02
	tagBits      = 0x03
	tagOctets    = 0x04
	tagNull      = 0x05
	tagOID       = 0x06
	tagUTF8      = 0x0c
	tagPrintable = 0x13
	tagSequence  = 0x30
	tagSet       = 0x31
)

// maxDepth bounds the walk through what a server sends.
const maxDepth = 40

// next takes the first element off DER.
func next(der []byte) (element, []byte, error) {
	if len(der) < 2 {
		return element{}, nil, errors.New("an element is cut off")
	}
	if der[0]&0x1f == 0x1f {
		return element{}, nil, errors.New("a tag above 30, which does not occur here")
	}
	size, head := int(der[1]), 2
	switch {
	case size == 0x80:
		return element{}, nil, errors.New("an indefinite length: that is BER, not DER")
	case size > 0x80:
		count := size & 0x7f
		if count > 4 || len(der) < 2+count {
			return element{}, nil, errors.New("a length that is too long")
		}
		size = 0
		for _, b := range der[2 : 2+count] {
			size = size<<8 | int(b)
		}
		if der[2] == 0 || size < 0x80 {
			return element{}, nil, errors.New("a length in more bytes than it needs: that is BER, not DER")
		}
		head += count
	}
	if size < 0 || size > len(der)-head {
		return element{}, nil, errors.New("an element is cut off")
	}
	end := head + size
	return element{der[0], der[:end:end], der[head:end:end]}, der[end:], nil
}

// whole reads DER that is one element of a tag.
func whole(der []byte, tag byte) (element, error) {
	e, rest, err := next(der)
	switch {
	case err != nil:
		return e, err
	case len(rest) > 0:
		return e, fmt.Errorf("%d bytes follow the end", len(rest))
	case e.tag != tag:
		return e, fmt.Errorf("tag %#02x where %#02x must be", e.tag, tag)
	}
	return e, nil
}

// children splits a constructed element.
func (e element) children() ([]element, error) {
	var list []element
	for rest := e.content; len(rest) > 0; {
		child, after, err := next(rest)
		if err != nil {
			return nil, err
		}
		list, rest = append(list, child), after
	}
	return list, nil
}

// checkDER walks through everything and returns what is not DER (X.690, Sections
// 10 and 11). implicitSet says of an element whose tag hides it that it is a SET OF.
func checkDER(der []byte, implicitSet func(path []int) bool) error {
	rest, err := walk(der, nil, implicitSet)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes follow the end", len(rest))
	}
	return err
}

// walk checks one element; path are the positions of the elements around it.
func walk(der []byte, path []int, implicitSet func([]int) bool) ([]byte, error) {
	if len(path) > maxDepth {
		return nil, errors.New("nested deeper than anything that is meant")
	}
	e, rest, err := next(der)
	if err != nil {
		return nil, err
	}
	if e.tag&0x20 == 0 {
		return rest, e.checkPrimitive()
	}
	set := e.tag == tagSet || implicitSet != nil && implicitSet(path)
	var before []byte
	for inside, i := e.content, 0; len(inside) > 0; i++ {
		after, err := walk(inside, append(path[:len(path):len(path)], i), implicitSet)
		if err != nil {
			return nil, err
		}
		this := inside[:len(inside)-len(after)]
		if set && before != nil && bytes.Compare(before, this) > 0 {
			return nil, fmt.Errorf("element %d of a SET OF stands before a smaller one: DER sorts them (X.690, 11.6)", i)
		}
		before, inside = this, after
	}
	return rest, nil
}

func (e element) checkPrimitive() error {
	c := e.content
	switch e.tag {
	case tagBoolean:
		if len(c) != 1 || c[0] != 0 && c[0] != 0xff {
			return errors.New("a BOOLEAN that is neither 00 nor FF")
		}
	case tagInteger:
		if len(c) == 0 || len(c) > 1 && (c[0] == 0 && c[1] < 0x80 || c[0] == 0xff && c[1] >= 0x80) {
			return errors.New("an INTEGER in more bytes than it needs")
		}
	case tagNull:
		if len(c) != 0 {
			return errors.New("a NULL with content")
		}
	case tagBits:
		if len(c) == 0 || c[0] > 7 || len(c) == 1 && c[0] != 0 || len(c) > 1 && c[len(c)-1]&(1<<c[0]-1) != 0 {
			return errors.New("a BIT STRING with unused bits that are set")
		}
	case tagOID:
		if len(c) == 0 || c[len(c)-1]&0x80 != 0 {
			return errors.New("an OBJECT IDENTIFIER that is cut off")
		}
	case tagSequence &^ 0x20, tagSet &^ 0x20:
		return errors.New("a SEQUENCE or SET that is not constructed")
	}
	return nil
}

// oid writes an OBJECT IDENTIFIER in dots; empty if e is none.
func (e element) oid() string {
	if e.tag != tagOID || e.checkPrimitive() != nil {
		return ""
	}
	var arcs []int
	value := 0
	for _, b := range e.content {
		if value > 1<<48 {
			return ""
		}
		value = value<<7 | int(b&0x7f)
		if b&0x80 == 0 {
			arcs, value = append(arcs, value), 0
		}
	}
	first := min(arcs[0]/40, 2)
	return oidText(append([]int{first, arcs[0] - 40*first}, arcs[1:]...))
}

func oidText(arcs []int) string {
	text := make([]string, len(arcs))
	for i, a := range arcs {
		text[i] = strconv.Itoa(a)
	}
	return strings.Join(text, ".")
}

// tlv encodes an element.
func tlv(tag byte, parts ...[]byte) []byte {
	content := bytes.Join(parts, nil)
	n := len(content)
	head := []byte{tag}
	switch {
	case n < 0x80:
		head = append(head, byte(n))
	case n < 0x100:
		head = append(head, 0x81, byte(n))
	case n < 0x10000:
		head = append(head, 0x82, byte(n>>8), byte(n))
	default:
		head = append(head, 0x83, byte(n>>16), byte(n>>8), byte(n))
	}
	return append(head, content...)
}

// encodeOID is the inverse of oid.
func encodeOID(text string) []byte {
	var arcs []int
	for part := range strings.SplitSeq(text, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			panic(err) // of a constant
		}
		arcs = append(arcs, n)
	}
	var content []byte
	for _, arc := range append([]int{40*arcs[0] + arcs[1]}, arcs[2:]...) {
		base := []byte{byte(arc & 0x7f)}
		for arc >>= 7; arc > 0; arc >>= 7 {
			base = append([]byte{byte(arc&0x7f) | 0x80}, base...)
		}
		content = append(content, base...)
	}
	return tlv(tagOID, content)
}

// sortedSet encodes a SET OF under a tag: X.690, Section 11.6.
func sortedSet(tag byte, elements [][]byte) []byte {
	slices.SortFunc(elements, bytes.Compare)
	return tlv(tag, elements...)
}
