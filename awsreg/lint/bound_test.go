package lint

import (
	"errors"
	"strings"
	"testing"
)

// TestDeep: what is nested deep is read in no more time than what is flat; a
// parser that tries twice at each level would never end.
func TestDeep(t *testing.T) {
	for _, opening := range []string{"(", "[", "{", "{[", "f(", "{a:", "x[", "({", "=>{", "if(x){", "a.b(c=", "`${", "f'{", "def f():\n"} {
		for _, name := range []string{"a.py", "a.ts", "a.json", "a.yaml"} {
			data := []byte(strings.Repeat(opening, 5000))
			if _, err := Check(name, data, Options{}); err != nil && !errors.Is(err, ErrUnknown) {
				t.Errorf("%s of %q: %v", name, opening, err)
			}
		}
	}
	indented := &strings.Builder{}
	for i := range 200 {
		indented.WriteString(strings.Repeat(" ", i) + "if x:\n")
	}
	found, err := Check("a.py", []byte(indented.String()), Options{})
	if err != nil || len(found) != 1 || found[0].Rule != "syntax" {
		t.Errorf("code nested 200 deep: %v, %v", found, err)
	}
}

// TestRefusedInput: what is too much or nothing known is refused in words.
func TestRefusedInput(t *testing.T) {
	for name, c := range map[string]struct {
		files []File
		want  string
	}{
		"too long":        {[]File{{Name: "a.json", Data: make([]byte, MaxFile+1)}}, "more than"},
		"too many":        {make([]File, MaxFiles+1), "more than"},
		"prose in a text": {[]File{{Name: "x.txt", Data: []byte("hello"), Asked: true}}, ErrUnknown.Error()},
		"empty object":    {[]File{{Name: "x.json", Data: []byte("{}"), Asked: true}}, ErrUnknown.Error()},
		"empty list":      {[]File{{Name: "x.json", Data: []byte("[]"), Asked: true}}, ErrUnknown.Error()},
		"mistyped policy": {[]File{{Name: "x.json", Data: []byte(`{"Version":"2012-10-17","Statment":[]}`), Asked: true}}, ErrUnknown.Error()},
		"nothing":         {[]File{{Name: "photo", Data: []byte{0xff, 0xd8, 0xff}}}, ErrUnknown.Error()},
		"plain prose":     {[]File{{Name: "letter", Data: []byte("Dear press,\n")}}, ErrUnknown.Error()},
		"empty":           {[]File{{Name: "empty", Data: nil}}, ErrUnknown.Error()},
		"second of it":    {[]File{{Name: "a.json", Data: []byte("{}")}, {Name: "photo", Data: []byte{0}}}, "photo"},
	} {
		_, err := CheckAll(c.files, Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Check("photo", []byte{0}, Options{}); !errors.Is(err, ErrUnknown) {
		t.Errorf("an unknown file: %v", err)
	}
}
