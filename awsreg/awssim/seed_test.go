package awssim

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// functionDir holds the compiled test function for as long as the tests run.
var functionDir string

func TestMain(m *testing.M) {
	var err error
	if functionDir, err = os.MkdirTemp("", "awssim-function"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(functionDir)
	os.Exit(code)
}

// buildFunction compiles the test function once.
var buildFunction = sync.OnceValues(func() (string, error) {
	path := filepath.Join(functionDir, "bootstrap")
	cmd := exec.Command("go", "build", "-o", path, "./testdata/jitr")
	cmd.Stderr = os.Stderr
	return path, cmd.Run()
})

// connectPolicy is what a device needs to say hello.
const connectPolicy = `{"Version":"2012-10-17","Statement":[
	{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:eu-central-1:111122223333:client/${iot:ClientId}"},
	{"Effect":"Allow","Action":["iot:Publish","iot:Receive"],"Resource":"arn:aws:iot:eu-central-1:111122223333:topic/data/*"},
	{"Effect":"Allow","Action":"iot:Subscribe","Resource":"arn:aws:iot:eu-central-1:111122223333:topicfilter/data/*"}]}`

// mosquittoPub publishes one message with the real client.
func mosquittoPub(t *testing.T, s *Sim, root, cert, key string, args ...string) (string, error) {
	t.Helper()
	host, port, _ := net.SplitHostPort(s.BrokerAddr())
	cmd := exec.Command(tool(t, "mosquitto_pub"), append([]string{
		"-h", host, "-p", port, "--cafile", root, "--cert", cert, "--key", key, "-q", "1"}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestFunctionError: a function that reports an error is tried twice more, by one
// warm process.
func TestFunctionError(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a function")
	}
	fn, err := buildFunction()
	if err != nil {
		t.Fatalf("building the function: %v", err)
	}
	s := startSim(t, func(c *Config) {
		c.Functions = map[string]Function{"activate": {Path: fn, Env: []string{"POLICY=nowhere"}}}
	})
	w, err := s.world(first, region)
	if err != nil {
		t.Fatal(err)
	}
	w.invoke("rule", "arn:aws:lambda:eu-central-1:111122223333:function:activate",
		[]byte(`{"certificateId":"00","certificateStatus":"PENDING_ACTIVATION","awsAccountId":"111122223333"}`))
	wait(t, "the event to be dropped", func() bool { return len(eventsOf(t, s, "lambda.dropped")) == 1 })
	failed := eventsOf(t, s, "lambda.failed")
	if len(failed) != lambdaAttempts || !strings.Contains(failed[0].Message, "ResourceNotFoundException") {
		t.Errorf("failures: %+v", failed)
	}
	// What it failed at shows in the calls, once for each attempt.
	if calls := s.Calls(); len(calls) != lambdaAttempts || calls[0] != "AttachPolicy" {
		t.Errorf("calls: %v", calls)
	}
}
