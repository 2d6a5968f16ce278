package awssim

import (
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iot"
	"github.com/aws/aws-sdk-go-v2/service/iot/types"
)

const bulkThings = `{"Parameters":{"Name":{"Type":"String"},"Cert":{"Type":"String"}},"Resources":{
	"thing":{"Type":"AWS::IoT::Thing","Properties":{"ThingName":{"Ref":"Name"}}},
	"certificate":{"Type":"AWS::IoT::Certificate","Properties":{"CertificatePem":{"Ref":"Cert"},"Status":"ACTIVE"}}}}`

// bulkBed is a simulator with a bucket and a registered CA.
func bulkBed(t *testing.T) (s *Sim, ca *authority, put func(name string, lines ...string)) {
	dir := t.TempDir()
	s = startSim(t, func(c *Config) { c.Buckets = map[string]string{"input": dir} })
	ca = newCA(t, "Bulk CA")
	ca.mustRegister(t, s.client(first, region))
	return s, ca, func(name string, lines ...string) {
		writeFile(t, dir, filepath.FromSlash(name), strings.Join(lines, "\n"))
	}
}

func bulkStart(c *iot.Client, change ...func(*iot.StartThingRegistrationTaskInput)) (string, error) {
	in := &iot.StartThingRegistrationTaskInput{
		TemplateBody: aws.String(bulkThings), InputFileBucket: aws.String("input"), InputFileKey: aws.String("devices.json"),
		RoleArn: aws.String("arn:aws:iam::111122223333:role/bulk"),
	}
	for _, f := range change {
		f(in)
	}
	out, err := c.StartThingRegistrationTask(ctx, in)
	if err != nil {
		return "", err
	}
	return *out.TaskId, nil
}

func bulkWait(t *testing.T, c *iot.Client, id, status string) *iot.DescribeThingRegistrationTaskOutput {
	t.Helper()
	var out *iot.DescribeThingRegistrationTaskOutput
	wait(t, "the task", func() bool {
		var err error
		if out, err = c.DescribeThingRegistrationTask(ctx, &iot.DescribeThingRegistrationTaskInput{TaskId: &id}); err != nil {
			t.Fatal(err)
		}
		return string(out.Status) == status
	})
	return out
}

func TestBulkRegistration(t *testing.T) {
	s, ca, put := bulkBed(t)
	c := s.client(first, region)
	line := func(name string) string {
		text, err := json.Marshal(map[string]string{"Name": name, "Cert": ca.issue(t, pkix.Name{CommonName: name}).pem})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	long := `{"Name":"` + strings.Repeat("x", maxBulkLine) + `"}`
	put("devices.json", line("one"), "", line("two"), `{"Name":"no certificate"}`, "not json", `{"Name":7}`, long, line("three"))
	id, err := bulkStart(c)
	wantCode(t, err, "")
	out := bulkWait(t, c, id, bulkDone)
	if out.SuccessCount != 3 || out.FailureCount != 4 || out.PercentageProgress != 100 {
		t.Errorf("task: %+v", out)
	}
	for _, name := range []string{"one", "two", "three"} {
		p, err := c.ListThingPrincipals(ctx, &iot.ListThingPrincipalsInput{ThingName: &name})
		if err != nil || len(p.Principals) != 1 {
			t.Errorf("thing %s: %+v %v", name, p, err)
		}
	}
	report := func(kind string) []map[string]any {
		t.Helper()
		out, err := c.ListThingRegistrationTaskReports(ctx, &iot.ListThingRegistrationTaskReportsInput{TaskId: &id, ReportType: types.ReportType(kind)})
		wantCode(t, err, "")
		if len(out.ResourceLinks) != 1 {
			t.Fatalf("%s: %d links", kind, len(out.ResourceLinks))
		}
		resp, err := http.Get(out.ResourceLinks[0])
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var lines []map[string]any
		for dec := json.NewDecoder(resp.Body); dec.More(); {
			var one map[string]any
			if err := dec.Decode(&one); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, one)
		}
		if resp, err := http.Get(strings.Split(out.ResourceLinks[0], "?")[0]); err != nil || resp.StatusCode != 404 {
			t.Errorf("a report without its key: %v %v", resp, err)
		}
		return lines
	}
	failures := report("ERRORS")
	if len(failures) != 4 || failures[0]["lineNumber"] != 4.0 || failures[3]["lineNumber"] != 7.0 || failures[0]["errorMessage"] == "" {
		t.Errorf("errors: %v", failures)
	}
	if results := report("RESULTS"); len(results) != 3 || results[2]["lineNumber"] != 8.0 {
		t.Errorf("results: %v", results)
	}
	list, err := c.ListThingRegistrationTasks(ctx, &iot.ListThingRegistrationTasksInput{Status: "Completed"})
	if err != nil || len(list.TaskIds) != 1 {
		t.Errorf("list: %+v %v", list, err)
	}
	if list, err := c.ListThingRegistrationTasks(ctx, &iot.ListThingRegistrationTasksInput{Status: "InProgress"}); err != nil || len(list.TaskIds) != 0 {
		t.Errorf("list: %+v %v", list, err)
	}
	_, err = c.ListThingRegistrationTasks(ctx, &iot.ListThingRegistrationTasksInput{Status: "Nonsense"})
	wantCode(t, err, "InvalidRequestException")
	_, err = c.ListThingRegistrationTaskReports(ctx, &iot.ListThingRegistrationTaskReportsInput{TaskId: &id, ReportType: "ALL"})
	wantCode(t, err, "InvalidRequestException")
	_, err = c.StopThingRegistrationTask(ctx, &iot.StopThingRegistrationTaskInput{TaskId: &id})
	wantCode(t, err, "InvalidRequestException") // it has ended

	// The same again changes nothing.
	id, err = bulkStart(c)
	wantCode(t, err, "")
	if out := bulkWait(t, c, id, bulkDone); out.SuccessCount != 3 {
		t.Errorf("again: %+v", out)
	}
}

func TestBulkOneAtATime(t *testing.T) {
	s, _, put := bulkBed(t)
	c := s.client(first, region)
	var lines []string
	for i := range 10 {
		lines = append(lines, fmt.Sprintf(`{"Name":"n%d"}`, i))
	}
	put("devices.json", lines...)
	s.Inject(Fault{Operation: "bulk:*", Latency: 30 * time.Second, Times: 1})
	id, err := bulkStart(c)
	wantCode(t, err, "")
	// The fault is for this task: the other one must not come to it first.
	for end := time.Now().Add(30 * time.Second); !slices.Contains(s.Calls(), "bulk:RegisterThing"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the task does not begin")
		}
	}
	_, err = bulkStart(c)
	wantCode(t, err, "InvalidRequestException")
	other, err := bulkStart(s.client(second, region))
	wantCode(t, err, "")
	if out := bulkWait(t, s.client(second, region), other, bulkDone); out.FailureCount != 10 {
		t.Errorf("the other account's task: %+v", out)
	}
	_, err = c.StopThingRegistrationTask(ctx, &iot.StopThingRegistrationTaskInput{TaskId: &id})
	wantCode(t, err, "")
	bulkWait(t, c, id, bulkCancelling)
	// Closing does not wait for what is held back.
}

func TestBulkRefusals(t *testing.T) {
	s, _, _ := bulkBed(t)
	c := s.client(first, region)
	for name, change := range map[string]func(*iot.StartThingRegistrationTaskInput){
		"template": func(in *iot.StartThingRegistrationTaskInput) { in.TemplateBody = aws.String("{") },
		"bucket":   func(in *iot.StartThingRegistrationTaskInput) { in.InputFileBucket = aws.String("a/b") },
		"key":      func(in *iot.StartThingRegistrationTaskInput) { in.InputFileKey = aws.String("a b") },
		"long key": func(in *iot.StartThingRegistrationTaskInput) { in.InputFileKey = aws.String(strings.Repeat("x", 1025)) },
		"role":     func(in *iot.StartThingRegistrationTaskInput) { in.RoleArn = aws.String("arn") },
	} {
		t.Run(name, func(t *testing.T) {
			_, err := bulkStart(c, change)
			wantCode(t, err, "InvalidRequestException")
		})
	}
	for _, change := range []func(*iot.StartThingRegistrationTaskInput){
		func(in *iot.StartThingRegistrationTaskInput) { in.InputFileKey = aws.String("nowhere.json") },
		func(in *iot.StartThingRegistrationTaskInput) { in.InputFileBucket = aws.String("nowhere") },
		func(in *iot.StartThingRegistrationTaskInput) { in.InputFileKey = aws.String("../devices.json") },
	} {
		id, err := bulkStart(c, change)
		wantCode(t, err, "")
		if out := bulkWait(t, c, id, bulkFailed); aws.ToString(out.Message) == "" {
			t.Errorf("failed without a word: %+v", out)
		}
	}
	nowhere := aws.String("nowhere")
	_, err := c.DescribeThingRegistrationTask(ctx, &iot.DescribeThingRegistrationTaskInput{TaskId: nowhere})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = c.StopThingRegistrationTask(ctx, &iot.StopThingRegistrationTaskInput{TaskId: nowhere})
	wantCode(t, err, "ResourceNotFoundException")
	_, err = c.ListThingRegistrationTaskReports(ctx, &iot.ListThingRegistrationTaskReportsInput{TaskId: nowhere, ReportType: "ERRORS"})
	wantCode(t, err, "InvalidRequestException")
}
