package awssim

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxElement is the longest file name that file systems commonly take.
const maxElement = 255

// objectPath is the file, relative to its bucket's directory, that holds the object
// of a key. Slashes separate directories. Within an element, ASCII letters, digits
// and the characters of safeInFileName stand for themselves; every other byte, and a
// dot at the start, is %XX; an empty element is a lone %. So no element is "." or
// "..", none begins with a dot, and two keys never share a file.
func objectPath(key string) (string, error) {
	if key == "" || !utf8.ValidString(key) {
		return "", s3Error("InvalidArgument", 400, "A key is 1 to %d bytes of UTF-8", maxObjectKey)
	}
	if len(key) > maxObjectKey {
		return "", s3Error("KeyTooLongError", 400, "Your key is too long: %d bytes, the limit is %d", len(key), maxObjectKey)
	}
	elements := strings.Split(key, "/")
	for i, e := range elements {
		elements[i] = escapeElement(e)
		if len(elements[i]) > maxElement {
			return "", noOperation("keys with an element of more than 255 bytes, escaped: " + clip(e, 64))
		}
	}
	return strings.Join(elements, "/"), nil
}

// objectKey is the key of a file. False means that the file is no object: its name
// is not what objectPath makes of any key.
func objectKey(name string) (string, bool) {
	elements := strings.Split(name, "/")
	for i, e := range elements {
		if e == "%" {
			elements[i] = ""
			continue
		}
		var b strings.Builder
		for j := 0; j < len(e); j++ {
			if e[j] != '%' {
				b.WriteByte(e[j])
				continue
			}
			if j+2 >= len(e) {
				return "", false
			}
			n, err := strconv.ParseUint(e[j+1:j+3], 16, 8)
			if err != nil {
				return "", false
			}
			b.WriteByte(byte(n))
			j += 2
		}
		elements[i] = b.String()
	}
	key := strings.Join(elements, "/")
	back, err := objectPath(key)
	return key, err == nil && back == name
}

func escapeElement(e string) string {
	if e == "" {
		return "%"
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(e); i++ {
		if c := e[i]; safeInFileName(c) && !(c == '.' && i == 0) {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + digits[c>>4:c>>4+1] + digits[c&15:c&15+1])
		}
	}
	return b.String()
}

func safeInFileName(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-_.~+=,@()!$&", c) >= 0
}
