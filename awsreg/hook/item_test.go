package hook

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

var someEntry = Entry{
	CertificateID: strings.Repeat("ab", 32), Device: "pump 1", Thing: "pump-1", Serial: "0a",
	Issuer: "factory", CA: strings.Repeat("cd", 32), NotAfter: time.Unix(1900000000, 0).UTC(), State: Valid,
}

// items is a table in memory.
type items map[string]Item

func (s items) GetItem(_ context.Context, in *dynamodb.GetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	if in.ConsistentRead == nil || !*in.ConsistentRead {
		return nil, errors.New("a read of the manifest must be consistent")
	}
	return &dynamodb.GetItemOutput{Item: s[in.Key[keyName].(*types.AttributeValueMemberS).Value]}, nil
}

func (s items) put(list ...Item) {
	for _, item := range list {
		s[item[keyName].(*types.AttributeValueMemberS).Value] = item
	}
}

func TestTable(t *testing.T) {
	store := items{}
	table := Table{Client: store, Name: "t"}
	if _, err := table.Entry(t.Context(), someEntry.CertificateID); !errors.Is(err, ErrUnknown) {
		t.Errorf("want ErrUnknown, got %v", err)
	}
	if _, err := table.Head(t.Context()); !errors.Is(err, ErrUnknown) {
		t.Errorf("want ErrUnknown, got %v", err)
	}

	store.put(someEntry.Items()...)
	if got, err := table.Entry(t.Context(), someEntry.CertificateID); err != nil || got != someEntry {
		t.Errorf("got %+v, %v", got, err)
	}
	head := Head{PushedAt: time.UnixMilli(1772366400123).UTC(), Server: "a", MaxAge: time.Hour}
	store.put(head.Item())
	if got, err := table.Head(t.Context()); err != nil || got != head {
		t.Errorf("got %+v, %v", got, err)
	}

	gone := someEntry
	gone.State = Revoked
	store.put(gone.Items()...)
	// A late write of the valid entry does not take the revocation back.
	store.put(someEntry.Items()...)
	if got, err := table.Entry(t.Context(), someEntry.CertificateID); err != nil || got.State != Revoked {
		t.Errorf("got %+v, %v", got, err)
	}
	// A revocation counts without an entry.
	delete(store, someEntry.CertificateID)
	if got, err := table.Entry(t.Context(), someEntry.CertificateID); err != nil || got.State != Revoked {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestEntryRefused(t *testing.T) {
	for name, change := range map[string]func(*Entry){
		"id in capitals": func(e *Entry) { e.CertificateID = strings.ToUpper(e.CertificateID) },
		"short id":       func(e *Entry) { e.CertificateID = "ab" },
		"no device":      func(e *Entry) { e.Device = "" },
		"thing":          func(e *Entry) { e.Thing = "pump 1" },
		"long thing":     func(e *Entry) { e.Thing = strings.Repeat("a", 129) },
		"serial":         func(e *Entry) { e.Serial = "abc" },
		"ca":             func(e *Entry) { e.CA = "x" },
		"no expiry":      func(e *Entry) { e.NotAfter = time.Time{} },
		"state":          func(e *Entry) { e.State = "held" },
	} {
		e := someEntry
		change(&e)
		if err := e.Validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseEvent(f *testing.F) {
	f.Add([]byte(`{"certificateId":"` + strings.Repeat("ab", 32) + `","caCertificateId":"` + strings.Repeat("cd", 32) + `","timestamp":1772366400123,"certificateStatus":"PENDING_ACTIVATION","awsAccountId":"123456789012","certificateRegistrationTimestamp":null,"sourceIp":"192.0.2.1"}`))
	f.Add([]byte(`{"certificateId":1}`))
	f.Add([]byte(`null`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, data []byte) {
		event, err := ParseEvent(data)
		if err != nil {
			if event != (Event{}) {
				t.Errorf("an error and an event: %+v", event)
			}
			return
		}
		if !ValidID(event.CertificateID) || !ValidID(event.CACertificateID) || event.CertificateStatus != PendingActivation {
			t.Errorf("accepted %+v", event)
		}
		again, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseEvent(again); err != nil || back != event {
			t.Errorf("%+v became %+v, %v", event, back, err)
		}
	})
}

func FuzzParseEntry(f *testing.F) {
	seed, err := json.Marshal(someEntry)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"notAfter":"2026-01-01T00:00:00+23:59"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		entry, err := ParseEntry(data)
		if err != nil {
			if entry != (Entry{}) {
				t.Errorf("an error and an entry: %+v", entry)
			}
			return
		}
		again, err := json.Marshal(entry)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseEntry(again); err != nil || back != entry {
			t.Errorf("%+v became %+v, %v", entry, back, err)
		}
	})
}

func FuzzDecodeEntry(f *testing.F) {
	f.Add(someEntry.CertificateID, "pump 1", "pump-1", "0a", "factory", someEntry.CA, "1900000000")
	f.Add("head", "", "", "", "", "", "-1")
	f.Fuzz(func(t *testing.T, pk, device, thing, serial, issuer, ca, notAfter string) {
		item := Item{
			keyName: text(pk), "device": text(device), "thing": text(thing), "serial": text(serial),
			"issuer": text(issuer), "ca": text(ca), "notAfter": &types.AttributeValueMemberN{Value: notAfter},
		}
		entry, err := DecodeEntry(item)
		if err != nil {
			if entry != (Entry{}) {
				t.Errorf("an error and an entry: %+v", entry)
			}
			return
		}
		back, err := DecodeEntry(entry.Items()[0])
		if err != nil || !reflect.DeepEqual(back, entry) {
			t.Errorf("%+v became %+v, %v", entry, back, err)
		}
	})
}
