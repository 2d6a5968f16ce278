// Package awssim is an AWS IoT Core to rehearse against: the control plane that
// the aws CLI and the AWS SDKs speak, and the message broker that devices speak.
//
// It exists because a certificate authority that registers itself with AWS can
// otherwise only be tried out on a live account, where a mistake registers the
// wrong CA, locks a fleet out, or costs money. The simulator refuses what AWS is
// documented to refuse, with AWS's error codes; where AWS's behaviour is not
// documented it refuses to guess and says so. docs/aws-simulator.md lists every
// rule with its source, and what is unknown and therefore left out.
//
// One HTTP port answers for IoT (REST-JSON), STS (query), DynamoDB (JSON 1.0) and
// the other services listed there, told apart by the service name in the SigV4
// credential scope. One TLS port is the broker of every account and region. Each
// pair of account and region is a world of its own: nothing registered in one is
// seen in another.
//
// Calls are throttled if Config.Quotas says so and go wrong if Sim.Inject says so;
// Sim.State tells what they left behind. With Config.Listen on listeners in memory
// all of it runs inside testing/synctest.
//
// The registry lives in memory and is gone after Close; only S3 objects are files.
// The package is meant for tests, rehearsals and demonstrations; it listens on
// loopback unless told otherwise, and none of its credentials protect anything.
package awssim
