package cms

import "errors"

// maxDepth bounds the nesting of what is read: certificates in a SignedData
// come to about 12.
const maxDepth = 32

var errBER = errors.New("malformed BER")

// definite rewrites BER so that every length is definite and minimal, which
// is what cryptobyte reads. BouncyCastle and encoders that stream write
// indefinite lengths. Values stay as they are, and so do segmented strings.
func definite(ber []byte) ([]byte, error) {
	out, rest, err := element(nil, ber, 0)
	if err != nil {
		return nil, err
	}
	if len(rest) > 0 {
		return nil, errors.New("data after the message")
	}
	return out, nil
}

// element appends the first element of in to out and returns what follows it.
func element(out, in []byte, depth int) ([]byte, []byte, error) {
	// Tag numbers from 31 on take more bytes; CMS has none.
	if depth > maxDepth || len(in) < 2 || in[0]&0x1f == 0x1f || in[0] == 0 {
		return nil, nil, errBER
	}
	tag, constructed := in[0], in[0]&0x20 != 0
	n, in, indefinite, err := length(in[1:])
	if err != nil || indefinite && !constructed {
		return nil, nil, errBER
	}
	var rest []byte
	if !indefinite {
		in, rest = in[:n], in[n:]
	}
	content := in
	if constructed {
		content = nil
		for {
			if indefinite && len(in) >= 2 && in[0] == 0 && in[1] == 0 {
				rest = in[2:]
				break
			}
			if !indefinite && len(in) == 0 {
				break
			}
			if content, in, err = element(content, in, depth+1); err != nil {
				return nil, nil, err
			}
		}
	}
	return append(header(out, tag, len(content)), content...), rest, nil
}

// length reads a length of up to 3 bytes, which must not exceed what follows.
func length(in []byte) (n int, rest []byte, indefinite bool, err error) {
	switch {
	case in[0] < 0x80:
		n, rest = int(in[0]), in[1:]
	case in[0] == 0x80:
		return 0, in[1:], true, nil
	default:
		size := int(in[0] & 0x7f)
		if size > 3 || len(in) < 1+size {
			return 0, nil, false, errBER
		}
		for _, b := range in[1 : 1+size] {
			n = n<<8 | int(b)
		}
		rest = in[1+size:]
	}
	if n > len(rest) {
		return 0, nil, false, errBER
	}
	return n, rest, false, nil
}

// header appends a tag and a minimal length.
func header(out []byte, tag byte, n int) []byte {
	switch {
	case n < 0x80:
		return append(out, tag, byte(n))
	case n < 0x100:
		return append(out, tag, 0x81, byte(n))
	case n < 0x10000:
		return append(out, tag, 0x82, byte(n>>8), byte(n))
	}
	return append(out, tag, 0x83, byte(n>>16), byte(n>>8), byte(n))
}
