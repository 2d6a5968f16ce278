package awssim

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"mintmark/internal/pattern"
)

// domainOperations are the operations of domain configurations and bulk
// registration. Methods and paths were compared with serializers.go of
// aws-sdk-go-v2/service/iot v1.75.0.
var domainOperations = []iotOperation{
	{"CreateDomainConfiguration", "POST", "/domainConfigurations/{domainConfigurationName}", createDomain},
	{"DescribeDomainConfiguration", "GET", "/domainConfigurations/{domainConfigurationName}", describeDomain},
	{"ListDomainConfigurations", "GET", "/domainConfigurations", listDomains},
	{"UpdateDomainConfiguration", "PUT", "/domainConfigurations/{domainConfigurationName}", updateDomain},
	{"DeleteDomainConfiguration", "DELETE", "/domainConfigurations/{domainConfigurationName}", deleteDomain},

	{"StartThingRegistrationTask", "POST", "/thing-registration-tasks", startBulk},
	{"DescribeThingRegistrationTask", "GET", "/thing-registration-tasks/{taskId}", describeBulk},
	{"ListThingRegistrationTasks", "GET", "/thing-registration-tasks", listBulk},
	{"ListThingRegistrationTaskReports", "GET", "/thing-registration-tasks/{taskId}/reports", listBulkReports},
	{"StopThingRegistrationTask", "PUT", "/thing-registration-tasks/{taskId}/cancel", stopBulk},
}

// domainState is what a world keeps of them, and of DynamoDB's tokens. World.mu
// guards it.
type domainState struct {
	configs map[string]*domainConfiguration
	bulk    map[string]*bulkTask
	tokens  map[string]transaction // of DynamoDB, by ClientRequestToken
}

func newDomainState() domainState {
	standard := &domainConfiguration{name: standardDomain, enabled: true, authentication: "DEFAULT", protocol: "DEFAULT", security: standardSecurity}
	return domainState{
		configs: map[string]*domainConfiguration{standardDomain: standard},
		bulk:    map[string]*bulkTask{},
		tokens:  map[string]transaction{},
	}
}

// standardDomain is the configuration of the endpoint that every account has, and
// standardSecurity its security policy (AWS IoT developer guide,
// iot-custom-endpoints-configurable and transport-security).
const (
	standardDomain   = "iot:Data-ATS"
	standardSecurity = "IoTSecurityPolicy_TLS13_1_2_2022_10"
)

// maxDomains is how many domain configurations an account may have in a Region
// (AWS General Reference, AWS IoT Core endpoints and quotas).
const maxDomains = 10

var domainName = pattern.New(`^[\w.-]{1,128}$`)

// domainConfiguration is an endpoint of the broker with its settings.
type domainConfiguration struct {
	seq            int64
	name           string
	enabled        bool
	callback       string // ARN of a function, empty for none
	security       string
	authentication string
	protocol       string
	changed        time.Time // of the status
}

// serverNameOf is the SNI of a domain configuration. AWS makes a name of its own
// for each; the simulator derives it from account and name, so that it is the same
// in every run.
func (w *world) serverNameOf(name string) string {
	if name == standardDomain {
		return w.serverName()
	}
	sum := sha256.Sum256([]byte("domain " + w.account.ID + " " + name))
	return "d" + hex.EncodeToString(sum[:])[:20] + "-ats.iot." + w.region + ".amazonaws.com"
}

// domainARN ends in characters that AWS draws at random (AWS IoT developer guide,
// tagging-iot-iam); here they are derived.
func (w *world) domainARN(name string) string {
	sum := sha256.Sum256([]byte(name))
	return w.arn("iot", "domainconfiguration/"+name+"/"+hex.EncodeToString(sum[:])[:5])
}

func (w *world) findDomain(name string) (*domainConfiguration, error) {
	if d, ok := w.domain.configs[name]; ok {
		return d, nil
	}
	return nil, notFound("The domain configuration %s does not exist", clip(name, 128))
}

// domainFor is the configuration of the endpoint that a device named. Without SNI
// it is the standard one. The caller holds w.mu.
func (w *world) domainFor(sni string) *domainConfiguration {
	if name, ok := w.sim.tls.domainOf(sni); ok {
		return w.domain.configs[name]
	}
	return w.domain.configs[standardDomain]
}

func (d *domainState) dump() any {
	configs, tasks := map[string]any{}, map[string]any{}
	for name, c := range d.configs {
		configs[name] = map[string]any{
			"enabled": c.enabled, "callback": c.callback, "securityPolicy": c.security, "authenticationType": c.authentication, "applicationProtocol": c.protocol,
		}
	}
	for _, t := range d.bulk {
		key := t.bucket + "/" + t.key
		n, _ := tasks[key].([]any)
		tasks[key] = append(n, map[string]any{"status": t.status, "success": t.success, "failure": t.failure})
	}
	return map[string]any{"configurations": configs, "registrationTasks": tasks}
}
