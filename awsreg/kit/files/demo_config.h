/* For the demos of the AWS IoT Device SDK for Embedded C (demos/mqtt/...), in
 * place of theirs. The paths are seen from where the demo runs. */
#ifndef DEMO_CONFIG_H_
#define DEMO_CONFIG_H_

#include "logging_levels.h"
#ifndef LIBRARY_LOG_NAME
    #define LIBRARY_LOG_NAME    "DEMO"
#endif
#ifndef LIBRARY_LOG_LEVEL
    #define LIBRARY_LOG_LEVEL    LOG_INFO
#endif
#include "logging_stack.h"

/* The server's name is sent along (SNI) and verified. */
#define AWS_IOT_ENDPOINT          "@ENDPOINT@"

/* 443 instead where a firewall is in between: the demos then send the ALPN
 * protocol x-amzn-mqtt-ca. */
#define AWS_MQTT_PORT             ( @PORT@ )

#define ROOT_CA_CERT_PATH         "AmazonRootCA.pem"

/* With the CA, by which AWS finds the account of a device that it does not know. */
#define CLIENT_CERT_PATH          "certificate-and-chain.pem"
#define CLIENT_PRIVATE_KEY_PATH   "@KEY@"

/* The thing's name: the policy allows no other. */
#define CLIENT_IDENTIFIER         "@THING@"

#define NETWORK_BUFFER_SIZE       ( 1024U )

#define OS_NAME                   "Linux"
#define OS_VERSION                "1"
#define HARDWARE_PLATFORM_NAME    "device"

#endif /* DEMO_CONFIG_H_ */
