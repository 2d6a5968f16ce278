package audit

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"mintmark/internal/ledger"
)

// change calls f for every value in v, which it may set.
func change(v reflect.Value, f func(reflect.Value)) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]() || v.Kind() == reflect.String:
		f(v)
	case v.Kind() == reflect.Pointer && !v.IsNil():
		change(v.Elem(), f)
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			change(v.Index(i), f)
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				change(v.Field(i), f)
			}
		}
	case v.Kind() == reflect.Map && !v.IsNil():
		other := reflect.MakeMap(v.Type())
		for it := v.MapRange(); it.Next(); {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			key.Set(it.Key())
			value.Set(it.Value())
			f(key)
			f(value)
			other.SetMapIndex(key, value)
		}
		v.Set(other)
	}
}

// Strangers write some of the texts. Whatever they hold, the log can be read
// afterwards, and says the same but for what is not UTF-8.
func TestAnyTextIsReadBack(t *testing.T) {
	for _, text := range []string{"a\xffb", "\xc3", "\x00\x7f\u2028\ufeff", `\ufffd`, "\\ufffd\xff\ufffd", "<\"é\\>\r\n", "\xed\xa0\x80"} {
		for _, e := range append(events(), coldEvents()...) {
			dir := t.TempDir()
			l := open(t, dir, Config{})
			begin := l.Head()
			change(reflect.ValueOf(firstSet(e)), func(v reflect.Value) {
				if v.Kind() == reflect.String {
					v.SetString(text)
				}
			})
			appendAll(t, l, []ledger.Event{e})
			if _, err := Verify(dir); err != nil {
				t.Errorf("%s with %q: %v", e.Kind, text, err)
				continue
			}
			change(reflect.ValueOf(firstSet(e)), func(v reflect.Value) {
				if v.Kind() == reflect.String {
					v.SetString(string([]rune(text)))
				}
			})
			if got := collect(t, l, begin)[0].Events[0]; !reflect.DeepEqual(got, e) {
				t.Errorf("%s with %q: read back %+v", e.Kind, text, got)
			}
		}
	}
}

// What could not be read again is not written, and the log goes on.
func TestWhatCannotBeReadIsNotWritten(t *testing.T) {
	refused := func(what string, e ledger.Event) {
		t.Helper()
		dir := t.TempDir()
		l := open(t, dir, Config{})
		before := l.Head()
		var unfit *RecordError
		if _, err := l.Append([]ledger.Event{intent("01"), e, intent("02")}); !errors.As(err, &unfit) || unfit.Index != 1 {
			t.Errorf("%s: %v", what, err)
		}
		if l.Head() != before {
			t.Errorf("%s: the log is at %v", what, l.Head())
		}
		appendAll(t, l, []ledger.Event{intent("01")})
		if _, err := Verify(dir); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	timesOf := func(e ledger.Event) (all []reflect.Value) {
		if e.Issued == nil { // whose time is the record's
			change(reflect.ValueOf(firstSet(e)), func(v reflect.Value) {
				if v.Kind() != reflect.String {
					all = append(all, v)
				}
			})
		}
		return all
	}
	west := time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("", -2*3600))
	for _, odd := range []time.Time{west, time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)} {
		for _, e := range append(events(), coldEvents()...) {
			for _, v := range timesOf(e) {
				was := v.Interface()
				v.Set(reflect.ValueOf(odd))
				refused(e.Kind, e)
				v.Set(reflect.ValueOf(was))
			}
			e.At = odd
			refused(e.Kind, e)
		}
	}
	refused("long", ledger.Event{Kind: ledger.EventDevice, At: at, Device: &ledger.DeviceChange{Note: strings.Repeat("x", maxLine)}})
	refused("unknown", ledger.Event{Kind: "unknown", At: at})
	refused("empty", ledger.Event{Kind: ledger.EventOrder, At: at})
}
