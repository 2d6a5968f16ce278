package hook

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

func TestHookEventRefused(t *testing.T) {
	good := func() map[string]any {
		return map[string]any{
			"claimCertificateId": claimID, "certificateId": idOf(1), "certificatePem": "x", "templateArn": templateARN, "clientId": "c",
			"parameters": map[string]any{SerialNumber: "SN-1", certificateIDParameter: idOf(1)}, "new": "ignored",
		}
	}
	parse := func(event map[string]any) error {
		data, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		e, err := ParseHookEvent(data)
		if err != nil && !reflect.DeepEqual(e, HookEvent{}) {
			t.Errorf("an error and an event: %+v", e)
		}
		return err
	}
	if err := parse(good()); err != nil {
		t.Fatal(err)
	}
	for _, member := range []string{"claimCertificateId", "certificateId", "certificatePem", "templateArn", "parameters"} {
		for _, value := range []any{nil, "", 1} {
			event := good()
			event[member] = value
			if err := parse(event); err == nil {
				t.Errorf("%s = %v accepted", member, value)
			}
		}
		event := good()
		delete(event, member)
		if err := parse(event); err == nil {
			t.Errorf("accepted without %s", member)
		}
	}
	many := map[string]any{}
	for i := range maxParameters + 1 {
		many[fmt.Sprint(i)] = "x"
	}
	for name, parameters := range map[string]map[string]any{
		"a number": {SerialNumber: 7}, "a list": {SerialNumber: []string{"x"}}, "no name": {"": "x"}, "too many": many,
		"long name": {strings.Repeat("x", maxName+1): "x"}, "long value": {"x": strings.Repeat("x", maxValue+1)},
		"AWS's own": {"AWS::IoT::Certificate::CommonName": "x"}, "another certificate": {certificateIDParameter: idOf(2)},
	} {
		event := good()
		event["parameters"] = parameters
		if err := parse(event); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
	for name, change := range map[string]func(map[string]any){
		"certificate in capitals":  func(e map[string]any) { e["certificateId"] = strings.Repeat("AB", 32) },
		"claim is the certificate": func(e map[string]any) { e["claimCertificateId"] = idOf(1) },
		"long certificate":         func(e map[string]any) { e["certificatePem"] = strings.Repeat("x", maxEvent+1) },
		"oversized":                func(e map[string]any) { e["new"] = strings.Repeat("x", 4*maxEvent) },
	} {
		event := good()
		change(event)
		if err := parse(event); err == nil {
			t.Errorf("%s accepted", name)
		}
	}
}

func FuzzParseHookEvent(f *testing.F) {
	seed, err := json.Marshal(asks("SN-007", 1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"parameters":{"SerialNumber":null}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseHookEvent(data)
		if err != nil {
			if !reflect.DeepEqual(e, HookEvent{}) {
				t.Errorf("an error and an event: %+v", e)
			}
			return
		}
		again, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseHookEvent(again); err != nil || !reflect.DeepEqual(back, e) {
			t.Errorf("%+v became %+v, %v", e, back, err)
		}
	})
}

func TestPlace(t *testing.T) {
	if place, err := ParsePlace("arn:aws-cn:lambda:cn-north-1:111122223333:function:f:alias"); err != nil || place != (Place{"111122223333", "cn-north-1"}) {
		t.Errorf("%+v, %v", place, err)
	}
	for _, arn := range []string{
		"", "arn", "arn:aws:lambda:eu-central-1:111122223333:", "arn:aws:iot:eu-central-1:111122223333:function:f",
		"arn:aws:lambda::111122223333:function:f", "arn:aws:lambda:eu-central-1::function:f", "arn:x:lambda:eu-central-1:111122223333:function:f",
		"arn:aws:lambda:eu-central-1:111122223333:" + strings.Repeat("x", maxARN),
	} {
		if place, err := ParsePlace(arn); err == nil {
			t.Errorf("%s is %+v", cut(arn), place)
		}
	}
	for arn, want := range map[string]string{
		templateARN: "fleet", templateARN + "-rotation": "fleet-rotation",
		templateARN + "/x": "", templateARN + ":1": "", "arn:aws:iot:eu-central-1:111122223333:provisioningtemplate/": "",
		"arn:aws:iot:eu-central-1:111122223333:thing/fleet": "", "arn:aws:lambda:eu-central-1:111122223333:provisioningtemplate/fleet": "",
	} {
		if name, err := here.template(arn); name != want || (err == nil) != (want != "") {
			t.Errorf("%s is %q, %v", arn, name, err)
		}
	}
}

// The cases are those of package inventory, whose rule it is.
func TestInRange(t *testing.T) {
	for _, test := range []struct {
		text, id string
		want     bool
	}{
		{"SN-00001..SN-01000", "SN-00001", true},
		{"SN-00001..SN-01000", "SN-01000", true},
		{"SN-00001..SN-01000", "SN-00500", true},
		{"SN-00001..SN-01000", "SN-00000", false},
		{"SN-00001..SN-01000", "SN-01001", false},
		{"SN-00001..SN-01000", "SN-0500", false},
		{"SN-00001..SN-01000", "SN-000500", false},
		{"SN-00001..SN-01000", "SX-00500", false},
		{"SN-00001..SN-01000", "SN-00a00", false}, // between the ends as text
		{"SN-00001..SN-01000", "SN-0005:", false},
		{"SN-00001..SN-01000", "", false},
		{"D1..D2", "D2", true},
		{"D1..D2", "E1", false},
		{"1a1..1a9", "1a10", false},
		{"0..9", "5", true},
		{strings.Repeat("0", 64) + ".." + strings.Repeat("9", 64), strings.Repeat("5", 64), true},
	} {
		if got, err := inRange(test.text, test.id); err != nil || got != test.want {
			t.Errorf("%q in %s: %t, %v", test.id, test.text, got, err)
		}
	}
	for _, text := range []string{
		"", "SN-1", "SN-1..", "..SN-9", "SN-1...SN-9", "SN-1-SN-9", "SN-1..SN-1000", "SA-0001..SB-0002", "SN0001..SN-002", "SN-0002..SN-0001", "aa..ab", "SN 1..SN 2",
	} {
		if got, err := inRange(text, "SN-1"); err == nil || got {
			t.Errorf("range %q: %t, %v", text, got, err)
		}
	}
}

func FuzzInRange(f *testing.F) {
	f.Add("SN-001", "SN-100", "SN-050")
	f.Add("0", "9", "5")
	f.Add("A-9", "B-1", "A-9")
	f.Fuzz(func(t *testing.T, first, last, id string) {
		in, err := inRange(first+".."+last, id)
		if err != nil || !in {
			return
		}
		n := len(first) - digits(first)
		if len(id) != len(first) || id[:n] != first[:n] || strings.Trim(id[n:], "0123456789") != "" || id < first || id > last || !ValidDevice(id) {
			t.Errorf("%q is in %s..%s", id, first, last)
		}
	})
}

// What is decoded is what was written, for every kind of item.
func FuzzDecodeItems(f *testing.F) {
	f.Add("taken#SN-1", idOf(1), "WO-1", claimID, "1772366400", "")
	f.Add("fleet#"+idOf(1), "press_SN-1", "SN-1", "fleet", "1772366400", "1")
	f.Add("asked#SN-1", idOf(1), "WO-1", claimID, "1772366400", "2")
	f.Add("order#WO-1", "open", "fleet", "SN-1..SN-9", "5", "7")
	f.Add("press_SN-1", "SN-1", idOf(1), idOf(2), "1772366400", "1772366401")
	f.Fuzz(func(t *testing.T, pk, a, b, c, m, n string) {
		num := func(s string) types.AttributeValue { return &types.AttributeValueMemberN{Value: s} }
		yes := &types.AttributeValueMemberBOOL{Value: true}
		item := Item{
			keyName: text(pk), "certificate": text(a), "order": text(b), "claim": text(c), "at": num(m),
			"thing": text(a), "device": text(b), "template": text(c), "state": text(a), "quantity": num(m), "notBefore": num(m), "notAfter": num(n),
			"listed": yes, "rotation": yes, "ranges": &types.AttributeValueMemberL{Value: []types.AttributeValue{text(c)}},
			"fleet": text(a), "prefix": text(b), "current": text(b), "issuedAt": num(m),
			"key": text(a), "n": num(n),
		}
		if n != "" {
			item["void"], item["next"], item["nextAt"], item["told"], item["replaced"] = num(n), text(c), num(n), num(n), texts([]string{c, b})
		}
		round(t, item, DecodeTaken)
		round(t, item, DecodeAdmitted)
		round(t, item, DecodeAsked)
		round(t, item, DecodeOrder)
		round(t, item, DecodeClaim)
		round(t, item, DecodeTemplate)
		round(t, item, DecodeRotating)
		if used, err := DecodeUsed(item); err == nil && used < 0 {
			t.Errorf("%d used", used)
		}
	})
}

func round[T interface{ Item() Item }](t *testing.T, item Item, decode func(Item) (T, error)) {
	t.Helper()
	v, err := decode(item)
	if err != nil {
		return
	}
	if back, err := decode(v.Item()); err != nil || !reflect.DeepEqual(back, v) {
		t.Errorf("%+v became %+v, %v", v, back, err)
	}
}

func TestWithin(t *testing.T) {
	ctx, cancel := within(t.Context(), 0)
	defer cancel()
	if end, _ := ctx.Deadline(); time.Until(end) > Within {
		t.Errorf("ends in %s", time.Until(end))
	}
	// Lambda's own time-out is shorter: there is a margin to answer in.
	lambda, stop := contextWithin(t, 2*time.Second)
	defer stop()
	ctx, cancel = within(lambda, 0)
	defer cancel()
	if end, _ := ctx.Deadline(); time.Until(end) > 2*time.Second-margin {
		t.Errorf("ends in %s", time.Until(end))
	}
}

func contextWithin(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}
