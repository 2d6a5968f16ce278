package awssim

import (
	"encoding/json"
	"errors"
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of Invoke (AWS Lambda developer guide, gettingstarted-limits).
const (
	maxInvokePayload = 6 << 20
	maxEventPayload  = 256 << 10
)

// invokeWait is how long a synchronous Invoke waits for a free environment, beside
// the function's own time-out.
const invokeWait = 15 * time.Second

// lambdaOperations are the operations of the Lambda service (AWS Lambda API
// reference). Functions come from the configuration and cannot be changed.
var lambdaOperations = []iotOperation{
	{"Invoke", "POST", "/2015-03-31/functions/{functionName}/invocations", invokeFunction},
	{"GetFunctionConfiguration", "GET", "/2015-03-31/functions/{functionName}/configuration", getFunctionConfiguration},
	{"ListFunctions", "GET", "/2015-03-31/functions", listFunctions},
	{"ListFunctions", "GET", "/2015-03-31/functions/", listFunctions},
}

func (s *Sim) serveInvoke(w http.ResponseWriter, c *call) {
	// The answer may take longer than those of the other services. A connection in
	// memory that has no deadlines needs none.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(maxFunctionTimeout + 2*invokeWait))
	s.serveREST(w, c, "Lambda", "lambda:", lambdaOperations)
}

// findFunction resolves a function name or ARN of this account and Region.
func (c *call) findFunction() (name, arn string, err error) {
	name = c.path["functionName"]
	if strings.HasPrefix(name, "arn:") {
		m := functionARN.FindStringSubmatch(name)
		if m == nil || m[1] != c.w.region || m[2] != c.w.account.ID {
			return "", "", notFound("Function not found: %s", clip(name, 200))
		}
		name = m[3]
	}
	if q := c.query.Get("Qualifier"); q != "" && q != "$LATEST" {
		return "", "", noOperation("versions and aliases of functions")
	}
	arn = c.w.arn("lambda", "function:"+name)
	if _, ok := c.w.sim.cfg.Functions[name]; !ok {
		return "", "", notFound("Function not found: %s", clip(arn, 200))
	}
	return name, arn, nil
}

// invocationAnswer is the answer to Invoke.
type invocationAnswer struct {
	status  int
	failed  bool // the function's doing
	payload []byte
	refused *apiError // the service's doing
}

func (a *invocationAnswer) write(w http.ResponseWriter) {
	if a.refused != nil {
		a.refused.writeRESTJSON(w)
		return
	}
	w.Header().Set("X-Amz-Executed-Version", "$LATEST")
	if a.failed {
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
	}
	if a.status == http.StatusOK {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(a.status)
	w.Write(a.payload)
}

// invokeFunction is Invoke: RequestResponse waits for the answer, Event queues, and
// DryRun only checks.
func invokeFunction(c *call) (any, error) {
	_, arn, err := c.findFunction()
	if err != nil {
		return nil, err
	}
	if v := c.r.Header.Get("X-Amz-Log-Type"); v != "" && v != "None" {
		return nil, noOperation("X-Amz-Log-Type " + clip(v, 20))
	}
	if c.r.Header.Get("X-Amz-Client-Context") != "" {
		return nil, noOperation("X-Amz-Client-Context")
	}
	payload := c.body
	if len(payload) == 0 {
		payload = []byte("{}")
	}
	if !json.Valid(payload) {
		return nil, iotError("InvalidRequestContentException", "Could not parse request body into json")
	}
	if len(payload) > maxInvokePayload {
		return nil, tooLarge(len(payload), maxInvokePayload)
	}
	answer := &invocationAnswer{status: http.StatusOK}
	switch kind := c.r.Header.Get("X-Amz-Invocation-Type"); kind {
	case "", "RequestResponse":
		// The function may itself call this world, so it runs without the lock.
		c.then(func() { answer.run(c.w, arn, payload) })
	case "Event":
		if len(payload) > maxEventPayload {
			return nil, tooLarge(len(payload), maxEventPayload)
		}
		answer.status = http.StatusAccepted
		c.then(func() {
			f, err := c.w.lookup(arn)
			if err == nil {
				err = f.enqueue(payload)
			}
			if err != nil {
				answer.refused = &apiError{code: "TooManyRequestsException", status: http.StatusTooManyRequests, message: err.Error()}
			}
		})
	case "DryRun":
		answer.status = http.StatusNoContent
	default:
		return nil, iotError("InvalidParameterValueException", "Unsupported invocation type: %s", clip(kind, 64))
	}
	return answer, nil
}

func (a *invocationAnswer) run(w *world, arn string, payload []byte) {
	timeout := w.sim.cfg.Functions[functionOf(arn)].timeout() + invokeWait
	out, err := w.call(arn, payload, timeout)
	var own *functionFailure
	switch {
	case err == nil:
		a.payload = out
	case errors.As(err, &own):
		a.failed, a.payload = true, own.payload()
	default:
		a.refused = &apiError{code: "ServiceException", status: http.StatusInternalServerError, message: err.Error()}
	}
}

func tooLarge(have, limit int) *apiError {
	return &apiError{code: "RequestTooLargeException", status: http.StatusRequestEntityTooLarge,
		message: "Request must be smaller than " + strconv.Itoa(limit) + " bytes for the InvokeFunction operation, not " + strconv.Itoa(have)}
}

func getFunctionConfiguration(c *call) (any, error) {
	name, _, err := c.findFunction()
	if err != nil {
		return nil, err
	}
	return c.w.functionMembers(name), nil
}

// functionMembers says of a function what the simulator knows. The environment is
// not among it: it may hold secrets.
func (w *world) functionMembers(name string) map[string]any {
	return map[string]any{
		"FunctionName": name, "FunctionArn": w.arn("lambda", "function:"+name), "Version": "$LATEST", "Runtime": "provided.al2023",
		"Handler": "bootstrap", "PackageType": "Zip", "State": "Active", "LastUpdateStatus": "Successful",
		"Timeout": int(math.Ceil(w.sim.cfg.Functions[name].timeout().Seconds())), "MemorySize": 128,
	}
}

func listFunctions(c *call) (any, error) {
	for _, name := range []string{"Marker", "MaxItems", "MasterRegion", "FunctionVersion"} {
		if c.query.Get(name) != "" && name != "MaxItems" {
			return nil, noOperation("the parameter " + name + " of ListFunctions")
		}
	}
	names := []string{}
	for name := range c.w.sim.cfg.Functions {
		names = append(names, name)
	}
	slices.Sort(names)
	out := []map[string]any{}
	for _, name := range names {
		out = append(out, c.w.functionMembers(name))
	}
	return map[string]any{"Functions": out}, nil
}

// hostPort is the host of an address in text form.
func hostPort(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return host
}
