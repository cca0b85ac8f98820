import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.TableResult;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;

/**
 * Submits SQL files to a running cluster, each as its own job: SqlJobs REST_PORT FILE...
 *
 * <p>The archive on PyPI has no SQL client, and its job client needs no more than the jars that are
 * there. Statements end with a semicolon at the end of a line; {@code SET 'key' = 'value'} is read
 * here, because only the SQL client knows that statement.
 */
public final class SqlJobs {
  public static void main(String[] arguments) throws Exception {
    int port = Integer.parseInt(arguments[0]);
    for (int i = 1; i < arguments.length; i++) {
      Path file = Path.of(arguments[i]);
      // A fresh environment for each file, so that no setting and no table leaks into the next job.
      StreamTableEnvironment tables =
          StreamTableEnvironment.create(
              StreamExecutionEnvironment.createRemoteEnvironment("127.0.0.1", port));
      for (String statement : Files.readString(file).split(";\\s*(\\n|$)")) {
        run(tables, statement.strip(), file);
      }
    }
  }

  private static void run(StreamTableEnvironment tables, String statement, Path file) {
    if (statement.isEmpty()) {
      return;
    }
    if (statement.startsWith("SET ")) {
      // SET 'key' = 'value' splits at its first three quotes; the value ends with the fourth.
      String[] parts = statement.split("'", 4);
      String value = parts[3].substring(0, parts[3].lastIndexOf('\''));
      tables.getConfig().getConfiguration().setString(parts[1], value);
      return;
    }
    TableResult result = tables.executeSql(statement);
    result
        .getJobClient()
        .ifPresent(job -> System.out.println("job " + job.getJobID() + " " + file.getFileName()));
  }
}
