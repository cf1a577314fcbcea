import java.io.FileOutputStream;
import java.io.PrintStream;
import org.junit.runner.Description;
import org.junit.runner.JUnitCore;
import org.junit.runner.notification.Failure;
import org.junit.runner.notification.RunListener;

/** Runs the tests of a class and writes a line for each to a file, and to standard error what the failing ones said. */
public class Lines extends RunListener {
    private final PrintStream out;
    private String result;

    private Lines(PrintStream out) {
        this.out = out;
    }

    public static void main(String[] args) throws Exception {
        JUnitCore core = new JUnitCore();
        core.addListener(new Lines(new PrintStream(new FileOutputStream(args[0], true), true)));
        core.run(Class.forName(args[1]));
        System.exit(0); // clients may have left threads behind
    }

    private static String name(Description test) {
        return test.getDisplayName().replaceAll("\\s", " ");
    }

    @Override
    public void testStarted(Description test) {
        result = "pass";
    }

    @Override
    public void testFailure(Failure failure) {
        if (!failure.getDescription().isTest()) { // of the whole class
            out.println("FAIL " + name(failure.getDescription()));
        }
        result = "FAIL";
        System.err.println(name(failure.getDescription()) + ": " + failure.getTrace());
    }

    @Override
    public void testAssumptionFailure(Failure failure) {
        result = "skip";
    }

    @Override
    public void testIgnored(Description test) {
        out.println("skip " + name(test));
    }

    @Override
    public void testFinished(Description test) {
        out.println(result + " " + name(test));
    }
}
