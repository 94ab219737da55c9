import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.URL;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.security.SecureRandom;
import java.security.cert.X509Certificate;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509ExtendedTrustManager;

/** Asks https://localhost:PORT/hello/N by HttpsURLConnection (`url`) or HttpClient (`http`): 23 times,
 * then once for each line on stdin. Says `done` after the 23 and after each other answer. */
class Client {
    interface Asking { String ask(String url) throws Exception; }

    static class Anybody extends X509ExtendedTrustManager {
        public void checkClientTrusted(X509Certificate[] c, String a) {}
        public void checkServerTrusted(X509Certificate[] c, String a) {}
        public void checkClientTrusted(X509Certificate[] c, String a, java.net.Socket s) {}
        public void checkServerTrusted(X509Certificate[] c, String a, java.net.Socket s) {}
        public void checkClientTrusted(X509Certificate[] c, String a, SSLEngine e) {}
        public void checkServerTrusted(X509Certificate[] c, String a, SSLEngine e) {}
        public X509Certificate[] getAcceptedIssuers() { return new X509Certificate[0]; }
    }

    static Asking byUrl(SSLContext context) {
        HttpsURLConnection.setDefaultSSLSocketFactory(context.getSocketFactory());
        HttpsURLConnection.setDefaultHostnameVerifier((name, session) -> true);
        return url -> new String(new URL(url).openStream().readAllBytes());
    }

    static Asking byClient(SSLContext context) {
        var client = java.net.http.HttpClient.newBuilder().sslContext(context).build();
        return url -> client.send(HttpRequest.newBuilder(URI.create(url)).build(),
            BodyHandlers.ofString()).body();
    }

    public static void main(String[] arguments) throws Exception {
        var context = SSLContext.getInstance("TLS");
        context.init(null, new TrustManager[] {new Anybody()}, new SecureRandom());
        var asking = arguments[0].equals("url") ? byUrl(context) : byClient(context);
        var lines = new BufferedReader(new InputStreamReader(System.in));
        var number = 0;
        do {
            do {
                var path = "/hello/" + number;
                var body = asking.ask("https://localhost:" + arguments[1] + path);
                if (!body.contains(path)) throw new AssertionError("another answer");
            } while (++number < 23);
            System.out.println("done");
        } while (lines.readLine() != null);
    }
}
