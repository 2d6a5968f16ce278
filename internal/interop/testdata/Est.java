import java.io.FileInputStream;
import java.net.Socket;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.SecureRandom;
import java.security.Security;
import java.security.Signature;
import java.security.cert.CertificateFactory;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Collections;
import javax.net.ssl.KeyManagerFactory;
import org.bouncycastle.asn1.pkcs.PrivateKeyInfo;
import org.bouncycastle.asn1.x500.X500Name;
import org.bouncycastle.asn1.x509.SubjectPublicKeyInfo;
import org.bouncycastle.asn1.x9.X9ObjectIdentifiers;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaX509CertificateConverter;
import org.bouncycastle.est.CACertsResponse;
import org.bouncycastle.est.CSRRequestResponse;
import org.bouncycastle.est.ESTAuth;
import org.bouncycastle.est.ESTException;
import org.bouncycastle.est.ESTService;
import org.bouncycastle.est.EnrollmentResponse;
import org.bouncycastle.est.jcajce.ChannelBindingProvider;
import org.bouncycastle.est.jcajce.JcaHttpAuthBuilder;
import org.bouncycastle.est.jcajce.JcaJceUtils;
import org.bouncycastle.est.jcajce.JsseDefaultHostnameAuthorizer;
import org.bouncycastle.est.jcajce.JsseESTServiceBuilder;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.jsse.BCSSLConnection;
import org.bouncycastle.jsse.BCSSLSocket;
import org.bouncycastle.jsse.provider.BouncyCastleJsseProvider;
import org.bouncycastle.operator.ContentSigner;
import org.bouncycastle.operator.jcajce.JcaContentSignerBuilder;
import org.bouncycastle.pkcs.PKCS10CertificationRequest;
import org.bouncycastle.pkcs.jcajce.JcaPKCS10CertificationRequestBuilder;

// Est drives BouncyCastle's EST client over BouncyCastle's own TLS: HOST:PORT,
// root certificate file, TLS version, user, password, name prefix. It prints one
// line for each operation: its name, how it authenticated, and "ok" or what went
// wrong.
public class Est {
    interface Step { void run() throws Exception; }

    static String server, version, user, secret, prefix;
    static X509Certificate root;
    static int names;

    public static void main(String[] args) throws Exception {
        Security.addProvider(new BouncyCastleProvider());
        Security.addProvider(new BouncyCastleJsseProvider());
        server = args[0];
        version = args[2];
        user = args[3];
        secret = args[4];
        prefix = args[5];
        try (FileInputStream in = new FileInputStream(args[1])) {
            root = (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(in);
        }
        step("cacerts", "none", () -> {
            CACertsResponse anchors = service("line-a", null).getCACerts();
            check(anchors.getCertificateStore().getMatches(null).size() == 2, "not two certificates");
        });
        step("csrattrs", "none", () -> {
            CSRRequestResponse attributes = service("keygen", null).getCSRAttributes();
            check(attributes.hasAttributesResponse(), "no attributes");
            check(attributes.getAttributesResponse().hasRequirement(X9ObjectIdentifiers.id_ecPublicKey), "no id-ecPublicKey among them");
        });
        step("simpleenroll", "Basic", () -> {
            X500Name name = name();
            KeyPair keys = pair();
            only(service("line-a", null).simpleEnroll(false, request(name, keys), password(secret)), name, keys);
        });
        step("simpleenroll, no label", "Basic", () -> {
            X500Name name = name();
            KeyPair keys = pair();
            only(service(null, null).simpleEnroll(false, request(name, keys), password(secret)), name, keys);
        });
        step("simplereenroll", "certificate", () -> {
            X500Name name = name();
            KeyPair keys = pair();
            X509Certificate old = only(service("line-a", null).simpleEnroll(false, request(name, keys), password(secret)), name, keys);
            X509Certificate renewed = only(service("line-a", store(old, keys)).simpleEnroll(true, request(name, keys), null), name, keys);
            check(!renewed.equals(old), "the same certificate again");
        });
        step("simplereenroll, re-key", "certificate", () -> {
            X500Name name = name();
            KeyPair keys = pair(), next = pair();
            X509Certificate old = only(service("line-a", null).simpleEnroll(false, request(name, keys), password(secret)), name, keys);
            only(service("line-a", store(old, keys)).simpleEnroll(true, request(name, next), null), name, next);
        });
        if (version.equals("TLSv1.2")) { // it knows no other binding than tls-unique
            step("simpleenroll, linked to TLS", "Basic", () -> {
                X500Name name = name();
                KeyPair keys = pair();
                only(service("linked", null).simpleEnrollPoP(false, new JcaPKCS10CertificationRequestBuilder(name, keys.getPublic()), signer(keys), password(secret)), name, keys);
            });
        }
        step("serverkeygen, plain", "Basic", () -> {
            X500Name name = name();
            EnrollmentResponse answer = service("keygen", null).simpleEnrollWithServersideCreation(request(name, pair()), password(secret));
            PrivateKeyInfo info = answer.getPrivateKeyInfo();
            PrivateKey key = KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(info.getEncoded()));
            X509Certificate certificate = only(answer, name, null);
            Signature sign = Signature.getInstance("SHA256withECDSA");
            sign.initSign(key);
            sign.update((byte) 1);
            byte[] signature = sign.sign();
            Signature verify = Signature.getInstance("SHA256withECDSA");
            verify.initVerify(certificate.getPublicKey());
            verify.update((byte) 1);
            check(verify.verify(signature), "the key is not the certificate's");
        });
        step("wrong password", "Basic", () -> {
            try {
                service("line-a", null).simpleEnroll(false, request(name(), pair()), password("wrong"));
                throw new IllegalStateException("accepted");
            } catch (ESTException e) {
                check(e.getStatusCode() == 401, "status " + e.getStatusCode());
            }
        });
        step("simpleenroll 202", "Basic", () -> {
            X500Name name = new X500Name("CN=" + prefix + "-wait");
            KeyPair keys = pair();
            ESTService service = service("waiting", null);
            EnrollmentResponse answer = service.simpleEnroll(false, request(name, keys), password(secret));
            while (!answer.isCompleted()) {
                Thread.sleep(Math.max(0, answer.getNotBefore() - System.currentTimeMillis()));
                answer = service.simpleEnroll(answer);
            }
            only(answer, name, keys);
        });
    }

    static void step(String operation, String auth, Step step) {
        String result = "ok";
        try {
            step.run();
        } catch (Throwable e) {
            Throwable cause = e;
            while (cause.getCause() != null) {
                cause = cause.getCause();
            }
            result = e + (cause == e ? "" : ": " + cause);
        }
        System.out.println(operation + "\t" + auth + "\t" + result.replace('\n', ' '));
    }

    static void check(boolean ok, String otherwise) {
        if (!ok) {
            throw new IllegalStateException(otherwise);
        }
    }

    static X500Name name() {
        return new X500Name("CN=" + prefix + "-" + ++names);
    }

    static ESTAuth password(String secret) throws Exception {
        return new JcaHttpAuthBuilder(user, secret.toCharArray()).setNonceGenerator(new SecureRandom()).setProvider("SUN").build();
    }

    static KeyStore store(X509Certificate certificate, KeyPair keys) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setKeyEntry("device", keys.getPrivate(), new char[0], new X509Certificate[]{certificate});
        return store;
    }

    static ESTService service(String label, KeyStore store) throws Exception {
        JsseESTServiceBuilder builder = new JsseESTServiceBuilder(server, JcaJceUtils.getCertPathTrustManager(
            Collections.singleton(new TrustAnchor(root, null)), null));
        if (label != null) {
            builder.withLabel(label);
        }
        if (store != null) {
            KeyManagerFactory keys = KeyManagerFactory.getInstance("PKIX", "BCJSSE");
            keys.init(store, new char[0]);
            builder.withKeyManagers(keys.getKeyManagers());
        }
        builder.withHostNameAuthorizer(new JsseDefaultHostnameAuthorizer(Collections.<String>emptySet()));
        builder.withProvider("BCJSSE").withFilterCipherSuites(false);
        builder.withChannelBindingProvider(new ChannelBindingProvider() {
            public boolean canAccessChannelBinding(Socket socket) {
                return socket instanceof BCSSLSocket;
            }

            public byte[] getChannelBinding(Socket socket, String kind) {
                BCSSLConnection connection = ((BCSSLSocket) socket).getConnection();
                return connection.getChannelBinding(kind);
            }
        });
        return builder.withTLSVersion(version).build();
    }

    static KeyPair pair() throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("EC");
        generator.initialize(256);
        return generator.generateKeyPair();
    }

    static ContentSigner signer(KeyPair keys) throws Exception {
        return new JcaContentSignerBuilder("SHA256withECDSA").build(keys.getPrivate());
    }

    static PKCS10CertificationRequest request(X500Name name, KeyPair keys) throws Exception {
        return new JcaPKCS10CertificationRequestBuilder(name, keys.getPublic()).build(signer(keys));
    }

    static X509Certificate only(EnrollmentResponse answer, X500Name name, KeyPair keys) throws Exception {
        check(answer.isCompleted(), "not completed");
        check(answer.getStore().getMatches(null).size() == 1, "not one certificate");
        X509CertificateHolder holder = answer.getStore().getMatches(null).iterator().next();
        check(holder.getSubject().equals(name), "subject " + holder.getSubject());
        check(keys == null || holder.getSubjectPublicKeyInfo().equals(SubjectPublicKeyInfo.getInstance(keys.getPublic().getEncoded())), "another key");
        X509Certificate certificate = new JcaX509CertificateConverter().getCertificate(holder);
        certificate.checkValidity();
        return certificate;
    }
}
