package awsreg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamotypes "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"mintmark/awsreg/hook"
	"mintmark/internal/reconcile"
)

// partial processes a few items of each batch and gives the rest back, which the
// simulator never does.
type partial struct {
	dynamoAPI
	mu      sync.Mutex
	each    int
	written map[string]int
	batches int
}

func (p *partial) BatchWriteItem(_ context.Context, in *dynamodb.BatchWriteItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.batches++
	out := &dynamodb.BatchWriteItemOutput{UnprocessedItems: map[string][]dynamotypes.WriteRequest{}}
	for table, requests := range in.RequestItems {
		keys := make(map[string]bool)
		for i, request := range requests {
			key := itemKey(request.PutRequest.Item)
			if keys[key] {
				return nil, errors.New("one key twice in a batch")
			}
			keys[key] = true
			if i < p.each {
				p.written[key]++
			} else {
				out.UnprocessedItems[table] = append(out.UnprocessedItems[table], request)
			}
		}
	}
	return out, nil
}

func TestUnprocessedItems(t *testing.T) {
	synctest.Test(t, testUnprocessedItems)
}

func testUnprocessedItems(t *testing.T) {
	api := &partial{each: 10, written: make(map[string]int)}
	s := &session{dynamo: api}
	var items []batchItem
	for i := range 40 {
		items = append(items, batchItem{task: i, item: hook.Key(fmt.Sprint("k", i%35))}) // five keys twice
	}
	errs := make([]error, 40)
	s.write(t.Context(), "t", items, errs)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if len(api.written) != 35 || api.written["k0"] != 2 || api.written["k34"] != 1 {
		t.Errorf("written %v", api.written)
	}

	// Nothing is ever processed: every task fails, none hangs.
	api.each = 0
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	errs = make([]error, 40)
	s.write(ctx, "t", items, errs)
	for i, err := range errs {
		if err == nil {
			t.Errorf("item %d counts as written", i)
		}
	}
}

func TestPasses(t *testing.T) {
	api := func(code string) error {
		return fmt.Errorf("calling: %w", &smithy.GenericAPIError{Code: code})
	}
	for _, err := range []error{
		api("ThrottlingException"), api("ConflictingResourceUpdateException"), api("ServiceUnavailableException"),
		api("InternalFailureException"), errNotYet,
	} {
		if !passes(err) {
			t.Errorf("gives up on %v", err)
		}
	}
	for _, err := range []error{
		api("InvalidRequestException"), api("CertificateValidationException"), api("UnauthorizedException"),
		context.Canceled, context.DeadlineExceeded, errors.New("anything"),
	} {
		if passes(err) {
			t.Errorf("tries again after %v", err)
		}
	}
}

func TestExplain(t *testing.T) {
	cause := &smithy.GenericAPIError{Code: "LimitExceededException", Message: "AWS's words"}
	err := explain("registering", cause)
	if !errors.Is(err, cause) || !strings.Contains(err.Error(), "AWS's words") || !strings.Contains(err.Error(), "ten with the same subject") {
		t.Errorf("explained as %v", err)
	}
	if explain("x", nil) != nil {
		t.Error("an error out of nothing")
	}
}

// A service that accepts changes and shows them late, or never.
func TestConverge(t *testing.T) {
	for _, test := range []struct {
		name  string
		shows int // examination after which the change shows
		fails bool
	}{{"at once", 1, false}, {"late", 2, false}, {"never", 1000, true}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, acted := 0, 0
				res := resource{examine: func(context.Context) (reconcile.Change, action, error) {
					n++
					if n > test.shows {
						return reconcile.Change{Action: reconcile.None}, nil, nil
					}
					return reconcile.Change{Action: reconcile.Create}, func(context.Context) error { acted++; return nil }, nil
				}}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				change, err := res.converge(ctx, true)
				if (err != nil) != test.fails {
					t.Fatalf("error %v", err)
				}
				if err == nil && (change.Action != reconcile.Create || acted != test.shows) {
					t.Errorf("%+v after %d changes", change, acted)
				}
			})
		})
	}
}

func FuzzParsePush(f *testing.F) {
	seed := push{Entry: Entry{
		CertificateID: strings.Repeat("ab", 32), Device: "pump 1", Thing: "pump-1", Serial: "0a", Issuer: "line",
		NotAfter: time.Unix(1900000000, 0).UTC(), State: hook.Revoked,
	}}
	data, err := json.Marshal(seed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	seed.CertificateID = CertificateID([]byte("der"))
	seed.Certificate = certificatePEM([]byte("der"))
	if data, err = json.Marshal(seed); err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parsePush(data)
		if err != nil {
			if p != (push{}) {
				t.Errorf("an error and a task: %+v", p)
			}
			return
		}
		again, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := parsePush(again); err != nil || back != p {
			t.Errorf("%+v became %+v, %v", p, back, err)
		}
	})
}
