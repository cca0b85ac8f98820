import java.net.ServerSocket;
import java.util.List;
import java.util.Map;
import java.util.Scanner;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.metrics.Gauge;
import org.apache.flink.metrics.MetricConfig;
import org.apache.flink.metrics.prometheus.PrometheusReporterFactory;
import org.apache.flink.runtime.clusterframework.types.ResourceID;
import org.apache.flink.runtime.metrics.MetricRegistryConfiguration;
import org.apache.flink.runtime.metrics.MetricRegistryImpl;
import org.apache.flink.runtime.metrics.ReporterSetup;
import org.apache.flink.runtime.metrics.groups.TaskManagerMetricGroup;
import org.apache.flink.runtime.metrics.util.MetricUtils;

/**
 * Flink's own metric registry and Prometheus reporter, on any free port, with a gauge that throws
 * what a line on standard input says: {@code state}, {@code number}, or nothing for any other word.
 *
 * <p>Prints the port. Ends with its standard input.
 */
public final class Throwing {
    private static final int GAUGES = 60;
    private static final long FRAME_BYTES = 10L << 20;

    private static volatile String what = "nothing";

    private Throwing() {}

    public static void main(String[] args) throws Exception {
        int port;
        try (ServerSocket free = new ServerSocket(0)) {
            port = free.getLocalPort();
        }
        MetricConfig config = new MetricConfig();
        config.setProperty("port", Integer.toString(port));
        ReporterSetup setup =
                new ReporterSetup(
                        "prom",
                        config,
                        new PrometheusReporterFactory().createMetricReporter(config),
                        (metric, name, group) -> true,
                        Map.of());
        MetricRegistryImpl registry =
                new MetricRegistryImpl(
                        MetricRegistryConfiguration.fromConfiguration(new Configuration(), FRAME_BYTES),
                        List.of(setup));
        TaskManagerMetricGroup group =
                TaskManagerMetricGroup.createTaskManagerMetricGroup(
                        registry, "host", new ResourceID("tm-1"));
        MetricUtils.instantiateStatusMetrics(group.addGroup("Status"));
        for (int number = 0; number < GAUGES; number++) {
            int value = number;
            group.gauge("mine" + number, (Gauge<Integer>) () -> value);
        }
        group.gauge("bad", (Gauge<Integer>) Throwing::read);
        System.out.println(port);
        try (Scanner lines = new Scanner(System.in)) {
            while (lines.hasNextLine()) {
                what = lines.nextLine();
            }
        }
        System.exit(0);
    }

    private static int read() {
        switch (what) {
            case "state":
                throw new IllegalStateException("the client is closed");
            case "number":
                return Integer.parseInt("no number");
            default:
                return 7;
        }
    }
}
